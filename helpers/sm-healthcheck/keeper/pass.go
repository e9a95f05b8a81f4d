package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"service-manager/helpers/internal/ipvs"
)

// balancer is what a keeper needs of the kernel's load balancer.
type balancer interface {
	Wanted(ctx context.Context) ([]ipvs.Wanted, error)
	Services() ([]ipvs.Service, error)
	Restore(ctx context.Context, addresses ...ipvs.Address) ([]ipvs.Place, error)
	Rest(ctx context.Context, d ipvs.Wanted, rests bool) error
	Evict(ctx context.Context, d ipvs.Wanted) error
	Discard(ctx context.Context, p ipvs.Place) (bool, error)
	Remove(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) error
	Close()
}

// pass compares what is with what should be, and does what that takes.
func (k *Keeper) pass(ctx context.Context) error {
	k.restartSome(ctx)
	b, err := k.open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return k.forget(ctx, nil) // there are no destinations
	}
	if err != nil {
		return err
	}
	defer b.Close()
	services, err := b.Services()
	if err != nil {
		return err
	}
	k.mu.Lock()
	c := careFor(k.wanted, services, k.healthOf)
	// One that becomes healthy from here on is left to the next pass.
	var healthy []*subject
	for _, s := range k.subjects {
		if s.health() == well {
			healthy = append(healthy, s)
		}
	}
	addresses := make([]ipvs.Address, 0, len(k.wanted))
	for _, d := range k.wanted {
		addresses = append(addresses, d.Address)
	}
	k.mu.Unlock()
	problems := []error{evict(ctx, b, c.evict), k.discard(ctx, b, c.discard), k.putBack(ctx, b, c.restore, addresses)}
	// First those that get connections again: one that is to rest may have been the last.
	for _, d := range c.serve {
		problems = append(problems, k.rest(ctx, b, d, false))
	}
	for _, d := range c.rest {
		problems = append(problems, k.rest(ctx, b, d, true))
	}
	err = errors.Join(problems...)
	if err == nil {
		k.settle(healthy, c.last)
	}
	return errors.Join(err, k.forget(ctx, b))
}

func evict(ctx context.Context, b balancer, ended []ipvs.Wanted) error {
	var problems []error
	for _, d := range ended {
		problems = append(problems, b.Evict(ctx, d))
	}
	return errors.Join(problems...)
}

// discard removes what no unit has added. A container may have that address again: a
// table that was saved by ipvsadm, and is loaded at the next boot, has destinations of
// containers that are long gone.
func (k *Keeper) discard(ctx context.Context, b balancer, places []ipvs.Place) error {
	var problems []error
	for _, p := range places {
		was, err := b.Discard(ctx, p)
		if was {
			fmt.Fprintf(k.w.Stdout, "removed %s from %s: no unit has added it; sm-ipvs add would keep it\n", p.Destination, p.Address)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (k *Keeper) healthOf(owner string) health {
	if s := k.subjects[owner]; s != nil {
		return s.health()
	}
	return fine
}

// putBack restores what is missing at some addresses or, if nothing is, the way to all of
// them if it is closed.
func (k *Keeper) putBack(ctx context.Context, b balancer, missing, all []ipvs.Address) error {
	if len(missing) == 0 {
		open, err := k.reachable(all...)
		if err != nil || open {
			return err
		}
		missing = all
	}
	restored, err := b.Restore(ctx, missing...)
	for _, r := range restored {
		fmt.Fprintf(k.w.Stdout, "put %s back at %s: it was missing in the kernel\n", r.Destination, r.Address)
	}
	return err
}

// rest keeps new connections away from a destination, or lets it have those again that
// its unit gave it, and reports that.
func (k *Keeper) rest(ctx context.Context, b balancer, d ipvs.Wanted, rests bool) error {
	if err := b.Rest(ctx, d, rests); err != nil {
		return err
	}
	what := "gets connections again"
	if rests {
		what = "gets no new connections"
	}
	fmt.Fprintf(k.w.Stdout, "%s: %s at %s\n", k.nameOf(d), what, d.Address)
	return nil
}

func (k *Keeper) nameOf(d ipvs.Wanted) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.subjects[d.Owner]; s != nil {
		return s.Name
	}
	return d.Destination.String()
}

// settle notes what was done about subjects: those that have connections again, and the
// last ones, which keep them.
func (k *Keeper) settle(healthy []*subject, last []ipvs.Wanted) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range healthy {
		s.settled = true
	}
	for _, d := range last {
		if s := k.subjects[d.Owner]; s != nil && !s.alone {
			s.alone = true
			fmt.Fprintf(k.w.Stdout, "%s: keeps its connections at %s: no other one gets any\n", s.Name, d.Address)
		}
	}
}

// forget removes what is left of containers that ended a while ago.
func (k *Keeper) forget(ctx context.Context, b balancer) error {
	var gone []*subject
	k.mu.Lock()
	for _, s := range k.subjects {
		if !s.ended.IsZero() && time.Since(s.ended) >= forgetAfter {
			gone = append(gone, s)
		}
	}
	wanted := k.wanted
	k.mu.Unlock()
	var problems []error
	for _, s := range gone {
		var left error
		for _, d := range wanted {
			if d.Owner == s.ID {
				left = errors.Join(left, b.Remove(ctx, d.Address, d.Destination, d.Owner))
			}
		}
		if left == nil {
			left = k.containers.Forget(s.ID)
		}
		problems = append(problems, left)
	}
	return errors.Join(problems...)
}

// end gives all that rest their connections back: from now on nothing else would.
func (k *Keeper) end(ctx context.Context) error {
	k.w.Notify.Stopping()
	b, err := k.open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	var problems []error
	for _, d := range k.wanted {
		if s := k.subjects[d.Owner]; s != nil && s.Check != nil {
			problems = append(problems, b.Rest(ctx, d, false))
		}
	}
	return errors.Join(problems...)
}
