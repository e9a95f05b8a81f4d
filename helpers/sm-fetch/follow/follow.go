// Package follow keeps the revisions on disk equal to a store: a first pass over
// everything that changed since the last run, then whatever changes, for ever.
package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"service-manager/helpers/internal/notify"
	"service-manager/helpers/internal/recurring"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/printable"
)

// Follower follows a store. Fields are set before use.
type Follower struct {
	Store     source.Store
	Applier   *apply.Applier
	Revisions string // the folder of the revisions
	Log       apply.Log
	Notify    notify.Notifier
	Times     Times

	state   *states
	passed  bool              // since the store was last lost
	trouble recurring.Problem // with the store

	mu      sync.Mutex
	ready   bool
	reading bool         // the first pass
	changes int          // that it has seen
	last    name.Service // that of the last one
}

// Times say how patient a Follower is.
type Times struct {
	// FirstPause and LastPause are how long to wait before a store that was lost
	// is tried again: the first time, and at most. Each is jittered.
	FirstPause, LastPause time.Duration
	// Start is how long the first pass may take before systemd is told that the service
	// is ready: what is on disk serves anyway.
	Start time.Duration
	// Stall is how long a pass may make no progress before it is started again.
	Stall time.Duration
	// Write is the shortest time between writes of the position in the store to disk.
	Write time.Duration
}

// DefaultTimes suit real stores.
var DefaultTimes = Times{
	FirstPause: 250 * time.Millisecond,
	LastPause:  30 * time.Second,
	Start:      10 * time.Second,
	Stall:      2 * time.Minute,
	Write:      time.Second,
}

// Run follows the store until the context ends. It says that the service is ready
// once the first pass is done, could not be, or takes long: what is on disk serves
// anyway.
func (f *Follower) Run(ctx context.Context) {
	f.state = openStates(f.Revisions, f.Times.Write, f.Applier, f.Log)
	defer f.state.flush()
	defer f.awaitStart()()
	pause := f.Times.FirstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		again := errors.Is(err, source.ErrAgain)
		if again && time.Since(began) > f.Times.FirstPause {
			continue
		}
		// A feed that ends after it has lasted is no trouble yet.
		lasted := f.passed && time.Since(began) > f.Times.LastPause
		if lasted || again {
			pause = f.Times.FirstPause
		}
		wait := jitter(pause)
		if !again {
			f.lost(err, wait, !lasted)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		if !again {
			pause = min(2*pause, f.Times.LastPause)
		}
	}
}

// awaitStart reports a first pass that takes long, until it is over or the returned
// function is called.
func (f *Follower) awaitStart() (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Times.Start <= 0 {
		return func() {}
	}
	f.reading = true
	var timer *time.Timer
	timer = time.AfterFunc(f.Times.Start, func() {
		// The lock is held meanwhile, so that this is never reported too late.
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.reading {
			return
		}
		so := ""
		if f.changes > 0 {
			so = fmt.Sprintf(", %d so far, the last of %s", f.changes, f.last)
		}
		f.Notify.Status("still reading %s%s; serving from disk", f.Store.Name(), so)
		if !f.ready {
			f.ready = true
			f.Notify.Ready()
		}
		timer.Reset(f.Times.Start)
	})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.reading = false
	}
}

// started ends the first pass: it reports how that ended, and that the service is ready.
func (f *Follower) started(tell func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reading = false
	tell()
	if !f.ready {
		f.ready = true
		f.Notify.Ready()
	}
}

// saw notes that a pass makes progress.
func (f *Follower) saw(service name.Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes++
	f.last = service
}

// guarded returns a context that ends when a pass stalls, whatever that is waiting for.
func (f *Follower) guarded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if f.Times.Stall > 0 {
		go func() {
			ticker := time.NewTicker(f.Times.Stall)
			defer ticker.Stop()
			for before := -1; ; {
				f.mu.Lock()
				changes := f.changes
				f.mu.Unlock()
				if changes == before {
					cancel(fmt.Errorf("nothing has arrived for %v", f.Times.Stall))
				}
				before = changes
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// once makes one pass and then watches until the store is lost.
func (f *Follower) once(ctx context.Context) error {
	f.passed = false
	snapshot, _, err := f.pass(ctx, false)
	if err != nil {
		return err
	}
	f.passed = true
	if after := f.trouble.Gone(); after != "" {
		f.Log.Info("%s answers again, after %s", f.Store.Name(), after)
	}
	f.started(func() { f.status(snapshot) })
	return f.Store.Watch(ctx, snapshot.Position, func(c source.Change, position source.Position) error {
		if err := f.change(ctx, c, position); err != nil {
			return err
		}
		f.status(snapshot)
		return nil
	})
}

// change applies a change from the feed.
func (f *Follower) change(ctx context.Context, c source.Change, position source.Position) error {
	state := f.state.get()
	if state.GoesBack(c) {
		// Feeds rewind. What counts is what the store has now.
		is, err := f.Store.Get(ctx, c.Service)
		if err != nil {
			return err
		}
		if is.Deleted {
			is.Rev = c.Rev
		}
		c = is
	}
	if c.Deleted {
		switch {
		case !state.Has(c.Service):
			f.Applier.Gone(c.Service)
			return nil // another store's, or another incarnation's
		case state.GoesBack(c):
			f.keep(&state, c.Service)
			state.Position = position
			f.state.set(state)
			return nil
		}
	}
	if err := f.Applier.Apply(ctx, c); err != nil {
		return &diskError{err}
	}
	f.say(&state, c)
	state.Position = position
	f.state.soon(state)
	return nil
}

func (f *Follower) status(snapshot source.Snapshot) {
	invalid := ""
	if n := f.Applier.InvalidCount(); n > 0 {
		invalid = fmt.Sprintf(", %d with an invalid newest revision", n)
	}
	absent := ""
	if snapshot.Waiting {
		absent = ", which does not exist yet"
	}
	f.Notify.Status("following %s%s, %s%s", f.Store.Name(), absent, printable.Count(f.Applier.Services(), "service"), invalid)
}

// lost reports that the store is out of reach: each time in the status, and in the log
// when it is news and trouble.
func (f *Follower) lost(err error, wait time.Duration, trouble bool) {
	problem := f.explain(err)
	f.started(func() {
		f.Notify.Status("%v; next try in %v; serving from disk", problem, wait.Round(time.Second/10))
	})
	if trouble && f.trouble.News(problem.Error()) {
		f.Log.Warning("%v; it is tried again, and what is on disk keeps serving", problem)
	}
}

func (f *Follower) explain(err error) error {
	var disk *diskError
	switch {
	case errors.As(err, &disk):
		return disk
	case f.passed:
		return fmt.Errorf("lost %s: %w", f.Store.Name(), err)
	}
	return fmt.Errorf("cannot read %s: %w", f.Store.Name(), err)
}

// jitter keeps hosts that lost the same store from coming back all at once.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1)
}
