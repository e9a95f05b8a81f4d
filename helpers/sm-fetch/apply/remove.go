package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"service-manager/helpers/sm-fetch/store"
)

// removal is the work on a service that was deleted. Draining its connections may
// take long; what the store says meanwhile waits.
type removal struct {
	waiting *store.Change // the newest change since, nil when there is none
	// applying says that the change that waited is being applied.
	applying bool
}

// postpone keeps a change for after the removal. Only the newest counts.
func (r *removal) postpone(c store.Change) {
	if c.Deleted && !r.applying {
		r.waiting = nil // that is what is happening already
		return
	}
	r.waiting = &c
}

func (a *Applier) startRemoval(ctx context.Context, service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removals == nil {
		a.removals = make(map[string]*removal)
	}
	if a.removals[service] != nil {
		return
	}
	r := &removal{}
	a.removals[service] = r
	a.workers.Add(1)
	go func() {
		defer a.workers.Done()
		a.work(ctx, service, r)
	}()
}

// work removes a service and then applies what waited for that.
func (a *Applier) work(ctx context.Context, service string, r *removal) {
	// A service of the same name that comes next is a new one only if systemd has
	// seen this one go.
	gone := func() bool {
		return a.repeat(ctx, func() error { return a.remove(ctx, service) }) && a.repeat(ctx, func() error { return a.Reload(ctx) })
	}
	if !gone() {
		return
	}
	for c := a.next(service, r); c != nil; c = a.next(service, r) {
		marked := false
		if !a.repeat(ctx, func() (err error) {
			if !c.Deleted {
				return a.accept(*c)
			}
			marked, err = a.mark(service)
			return err
		}) || marked && !gone() {
			return
		}
	}
}

// next returns the change that waits for a removal. When none does, the removal
// is over.
func (a *Applier) next(service string, r *removal) *store.Change {
	a.mu.Lock()
	c := r.waiting
	r.waiting, r.applying = nil, c != nil
	var settled func()
	if c == nil {
		delete(a.removals, service)
		if len(a.removals) == 0 {
			settled, a.settled = a.settled, nil
		}
	}
	a.mu.Unlock()
	if settled != nil {
		settled()
	}
	return c
}

// repeat does something until it succeeds, and reports whether it has.
func (a *Applier) repeat(ctx context.Context, do func() error) bool {
	reported := ""
	for {
		err := do()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if a.Retry == 0 {
			a.mu.Lock()
			a.failures = append(a.failures, err)
			a.mu.Unlock()
			return false
		}
		if err.Error() != reported {
			reported = err.Error()
			a.Log.Error("%v; it is tried again every %v", err, a.Retry)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(a.Retry):
		}
	}
}

// remove stops a service and forgets it. The mark on disk goes with the rest, so
// that whenever this is cut short the next run does it again.
func (a *Applier) remove(ctx context.Context, service string) error {
	if !a.Revisions.Deleted(service) {
		return nil // another process has done it
	}
	if err := a.Stop(ctx, service); err != nil {
		return fmt.Errorf("%s: remove it: %w", service, err)
	}
	unlock, err := a.Revisions.Lock(service)
	if err != nil {
		return err
	}
	defer unlock()
	if !a.Revisions.Deleted(service) {
		return nil
	}
	if err := a.Revisions.Remove(service); err != nil {
		return err
	}
	a.Log.Info("%s: is removed", service)
	return nil
}

// Settled reports whether no removal goes on, and otherwise has f called once
// none does. Until then a change may wait that is nowhere on disk.
func (a *Applier) Settled(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.removals) == 0 {
		return true
	}
	a.settled = f
	return false
}

// Wait waits for the end of all removals and returns what went wrong with those
// that are not retried.
func (a *Applier) Wait() error {
	a.workers.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.failures...)
}
