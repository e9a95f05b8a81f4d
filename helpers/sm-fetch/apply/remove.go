package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"service-manager/helpers/internal/recurring"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// work is done on one service beside the changes of others: its removal, whose draining
// may take long, or a change that could not be applied. Meanwhile, what the store says
// about the service waits.
type work struct {
	waiting *source.Change // the newest change since, nil when there is none
	now     *source.Change // the one that is being applied
	// handingOver says that a successor is waited for, and waited that one was.
	handingOver, waited bool
	// applying says that a change is being applied, and the service not removed.
	applying bool
}

// postpone keeps a change for later. Only the newest counts.
func (w *work) postpone(c source.Change) {
	if c.Deleted && !w.applying {
		w.waiting = nil // that is what is happening already
		return
	}
	w.waiting = &c
}

// startWork begins work on a service: with a change that has failed, or without
// one with its removal.
func (a *Applier) startWork(ctx context.Context, service name.Service, c *source.Change, failure error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.work == nil {
		a.work = make(map[name.Service]*work)
	}
	if a.work[service] != nil {
		return
	}
	w := &work{waiting: c, applying: c != nil}
	a.work[service] = w
	a.workers.Add(1)
	go func() {
		defer a.workers.Done()
		if failure == nil || a.pause(ctx, a.Retry) {
			a.do(ctx, service, w, failure)
		}
	}()
}

// do removes a service, unless it has failed to apply a change, and then applies
// what waits.
func (a *Applier) do(ctx context.Context, service name.Service, w *work, failure error) {
	// A service of the same name that comes next is a new one only if systemd has
	// seen this one go.
	gone := func() bool {
		stays := false
		return a.repeat(ctx, service, nil, func() (err error) { stays, err = a.remove(ctx, service); return err }) &&
			(stays || a.repeat(ctx, service, nil, func() error { return a.Reload(ctx) }) &&
				a.repeat(ctx, service, nil, func() error { return a.Forget(ctx, service) }))
	}
	if failure == nil && !gone() {
		return
	}
	for c := a.next(service, w); c != nil; c = a.next(service, w) {
		marked := false
		if !a.repeat(ctx, service, failure, func() (err error) {
			c = a.newer(w, c)
			marked, err = a.apply(ctx, *c)
			a.lookAgain(ctx)
			return err
		}) || marked && !gone() {
			return
		}
		failure = nil
	}
}

// newer returns the change that came after c, or else c.
func (a *Applier) newer(w *work, c *source.Change) *source.Change {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.waiting != nil {
		c, w.waiting = w.waiting, nil
	}
	w.now = c
	return c
}

// next returns the change that waits. When none does, the work is over.
func (a *Applier) next(service name.Service, w *work) *source.Change {
	a.mu.Lock()
	c := w.waiting
	w.waiting, w.now, w.applying = nil, c, c != nil
	var settled func()
	if c == nil {
		delete(a.work, service)
		if len(a.work) == 0 {
			settled, a.settled = a.settled, nil
		}
	}
	a.mu.Unlock()
	if settled != nil {
		settled()
	}
	return c
}

// repeat does something for a service until it succeeds, and reports whether it did. known
// is a failure that has been reported.
func (a *Applier) repeat(ctx context.Context, service name.Service, known error, do func() error) bool {
	var trouble recurring.Problem
	if known != nil {
		trouble.News(known.Error())
	}
	for {
		err := do()
		if err == nil {
			if after := trouble.Gone(); after != "" {
				a.Log.Info("%s: succeeds after %s", service, after)
			}
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
		if trouble.News(err.Error()) {
			a.Log.Error("%v; trying again every %v", err, a.Retry)
		}
		if !a.pause(ctx, a.Retry) {
			return false
		}
	}
}

// pause waits, and reports whether it was not cut short.
func (a *Applier) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// remove stops a service and forgets it. The mark on disk goes last, so whenever this is
// cut short the next run does it again. The service stays if it comes back while it still
// serves.
func (a *Applier) remove(ctx context.Context, service name.Service) (stays bool, err error) {
	if !a.Revisions.Deleted(service) {
		return false, nil // another process has done it
	}
	if err := a.handOver(ctx, service); err != nil {
		return false, err
	}
	if a.waited(service) {
		if stays, err := a.revive(ctx, service); err != nil || stays {
			return stays, err
		}
	}
	if err := a.Stop(ctx, service); err != nil {
		return false, fmt.Errorf("%s: remove it: %w", service, err)
	}
	unlock, err := a.lock(ctx, service)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !a.Revisions.Deleted(service) {
		return false, nil
	}
	if err := a.Revisions.Remove(service); err != nil {
		return false, err
	}
	a.Log.Info("%s: is removed", service)
	return false, nil
}

// revive lets a service stay that is in the store again, as when a rename is undone, and
// whose addresses no other one has. What the store says of it is applied next.
func (a *Applier) revive(ctx context.Context, service name.Service) (stays bool, err error) {
	unlock, err := a.lock(ctx, service)
	if err != nil {
		return false, err
	}
	defer unlock()
	a.claiming.Lock()
	defer a.claiming.Unlock()
	for _, find := range []func(name.Service) (name.Rev, error){a.Revisions.Current, a.Revisions.Good} {
		rev, err := find(service)
		if err != nil || rev == "" {
			continue
		}
		d, err := a.Revisions.Read(service.Revision(rev))
		if err != nil || slices.ContainsFunc(d.Addresses(), func(at definition.Address) bool { return a.owner(at, service) != "" }) {
			return false, nil
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.work[service]
	if w == nil || w.waiting == nil {
		return false, nil
	}
	if err := a.Revisions.UnmarkDeleted(service); err != nil {
		return false, err
	}
	a.claimOf(service) // no one else gets its addresses
	w.applying = true  // a deletion that comes now is another one
	a.Log.Info("%s: is in the store again, and keeps serving", service)
	return true, nil
}

// Unsettled returns the services on which work is not done. Until it is, a change of such
// a service may be waiting that is nowhere on disk. If there are any, it calls f once there
// are none.
func (a *Applier) Unsettled(f func()) map[name.Service]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.work) == 0 {
		return nil
	}
	a.settled = f
	busy := make(map[name.Service]bool)
	for service := range a.work {
		busy[service] = true
	}
	return busy
}

// Wait waits for the end of all work and returns what went wrong with those
// that are not retried.
func (a *Applier) Wait() error {
	a.workers.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.failures...)
}
