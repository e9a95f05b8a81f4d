// Package follow keeps the revisions on disk equal to a store: a first pass over
// everything that changed while nobody looked, then whatever changes, for ever.
package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"service-manager/helpers/internal/notify"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/store"
)

// Follower follows a store. Fields are set before use.
type Follower struct {
	Store     store.Store
	Applier   *apply.Applier
	Revisions string // the folder of the revisions
	Log       apply.Log
	Notify    notify.Notifier
	Times     Times

	state   *states
	passed  bool   // since the store was last lost
	trouble string // what is known to be wrong with the store
}

// Times say how patient a Follower is.
type Times struct {
	// FirstPause and LastPause are how long to wait before a store that was lost
	// is tried again: the first time, and at most. Each is jittered.
	FirstPause, LastPause time.Duration
	// Grace is how long a file that a pass has not found may still come.
	Grace time.Duration
	// Write is how often at most the position in the store is written to disk.
	Write time.Duration
}

// DefaultTimes suit real stores.
var DefaultTimes = Times{
	FirstPause: 250 * time.Millisecond,
	LastPause:  30 * time.Second,
	Grace:      time.Second,
	Write:      time.Second,
}

// Run follows the store until the context ends. It says that the service is ready
// once the first pass is done, or could not be: what is on disk serves anyway.
func (f *Follower) Run(ctx context.Context) {
	f.state = openStates(f.Revisions, f.Times.Write, f.Applier, f.Log)
	defer f.state.flush()
	ready := false
	pause := f.Times.FirstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := f.once(ctx, func() {
			if !ready {
				f.Notify.Ready()
				ready = true
			}
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, store.ErrAgain) {
			continue
		}
		// That a feed ends once it has lasted is no trouble yet.
		lasted := f.passed && time.Since(began) > f.Times.LastPause
		if lasted {
			pause = f.Times.FirstPause
		}
		wait := jitter(pause)
		f.lost(err, wait, !lasted)
		if !ready {
			f.Notify.Ready()
			ready = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		pause = min(2*pause, f.Times.LastPause)
	}
}

// once makes one pass and then watches until the store is lost.
func (f *Follower) once(ctx context.Context, passed func()) error {
	f.passed = false
	snapshot, err := f.pass(ctx, false)
	if err != nil {
		return err
	}
	f.passed = true
	if f.trouble != "" {
		f.Log.Info("%s answers again", f.Store.Name())
		f.trouble = ""
	}
	f.status(snapshot)
	passed()
	return f.Store.Watch(ctx, snapshot.Position, func(c store.Change, position store.Position) error {
		if err := f.Applier.Apply(ctx, c); err != nil {
			return &diskError{err}
		}
		f.state.appeared(c)
		if !snapshot.Absent {
			f.state.reached(position)
		}
		f.status(snapshot)
		return nil
	})
}

func (f *Follower) status(snapshot store.Snapshot) {
	invalid := ""
	if n := f.Applier.InvalidCount(); n > 0 {
		invalid = fmt.Sprintf(", %d with an invalid newest revision", n)
	}
	absent := ""
	if snapshot.Absent {
		absent = ", which does not exist yet"
	}
	f.Notify.Status("following %s%s, %s%s", f.Store.Name(), absent, count(f.Applier.Services()), invalid)
}

func count(services int) string {
	if services == 1 {
		return "1 service"
	}
	return fmt.Sprintf("%d services", services)
}

// lost tells that the store is out of reach: each time in the status, and in the
// log when that is news and trouble.
func (f *Follower) lost(err error, wait time.Duration, trouble bool) {
	problem := f.explain(err)
	f.Notify.Status("%s; next try in %v; serving from disk", problem, wait.Round(time.Second/10))
	if trouble && problem != f.trouble {
		f.Log.Warning("%s; it is tried again, and what is on disk goes on serving", problem)
		f.trouble = problem
	}
}

func (f *Follower) explain(err error) string {
	var disk *diskError
	switch {
	case errors.As(err, &disk):
		return disk.Error()
	case f.passed:
		return fmt.Sprintf("lost %s: %v", f.Store.Name(), err)
	}
	return fmt.Sprintf("cannot read %s: %v", f.Store.Name(), err)
}

// jitter keeps hosts that lost the same store from coming back all at once.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1)
}
