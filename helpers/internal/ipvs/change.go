package ipvs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// DefaultScheduler is what a new virtual service gets when none is asked for:
// each destination in turn.
const DefaultScheduler = "rr"

// MaxWeight is the largest weight of a destination.
const MaxWeight = 65535

// Terms say how a destination is part of a virtual service.
type Terms struct {
	Owner     string // who owns the destination; see Quiesce
	Scheduler string // of the virtual service; an empty one leaves an existing one as it is
	Weight    int
	Assign    bool // whether the address is added to the host if it lacks it
	Watch     bool // whether Answered is to know about its connections
}

// Add makes a destination, reached by masquerading, part of the virtual service at an
// address, which it creates if it is missing. A destination that is there already gets
// the new weight and owner.
func (h *Handle) Add(ctx context.Context, at Address, to netip.AddrPort, terms Terms) error {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return err
	}
	defer unlock()
	here, err := namespace()
	if err != nil {
		return err
	}
	scheduler, err := h.ensureService(at, terms.Scheduler)
	if err != nil {
		return err
	}
	n := note{terms.Owner, scheduler, terms.Weight, here, terms.Assign, terms.Watch}
	// Before the destination: from here on no other container's unit removes it.
	if err := errors.Join(n.write(at, to), noteScheduler(at, scheduler)); err != nil {
		return errors.Join(err, h.removeEmpty(at))
	}
	if terms.Assign {
		err = assign(at.Addr())
	}
	if err == nil {
		err = openPaths(map[Place]note{{at, to}: n})
	}
	if err == nil {
		err = h.putDestination(at, to, terms.Weight)
	}
	if err != nil {
		// A virtual service without a destination refuses what another program
		// on this host might serve.
		return errors.Join(err, forget(at, to), unwatch(to), h.removeEmpty(at))
	}
	d, found, err := h.Destination(at, to)
	if err != nil {
		return err
	}
	if !found || d.Weight != terms.Weight || !d.Masquerading {
		return hint.Add(fmt.Errorf("add %s to %s: the kernel accepted it but does not list it", to, at), "run ipvsadm -Ln")
	}
	if terms.Weight == 0 {
		return nil
	}
	return endHold(at)
}

// ensureService creates the virtual service at an address unless it exists, and returns
// its scheduler.
func (h *Handle) ensureService(at Address, scheduler string) (string, error) {
	service, err := h.moby.GetService(at.key())
	switch {
	case errors.Is(err, unix.ESRCH):
		service = at.key()
		service.SchedName = cmp.Or(scheduler, DefaultScheduler)
		service.Flags = flagsFor(service.SchedName)
		err = h.moby.NewService(service)
		if errors.Is(err, unix.EEXIST) {
			err = nil // made by a program that does not use the lock
		}
	case err == nil:
		want := cmp.Or(scheduler, service.SchedName)
		if flags := flagsFor(want); want != service.SchedName || flags&^service.Flags != 0 {
			service.SchedName, service.Flags = want, service.Flags&^fallback|flags
			err = h.moby.UpdateService(service)
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return "", hint.Add(fmt.Errorf("create virtual service %s: the kernel has no scheduler %q", at, service.SchedName), "see ipvsadm(8) for their names")
	}
	if err != nil {
		return "", fmt.Errorf("create virtual service %s: %w", at, err)
	}
	return service.SchedName, nil
}

// fallback makes a scheduler that gives each client a fixed destination choose another one
// when that gets no new connections (IP_VS_SVC_F_SCHED1 of linux/ip_vs.h). Otherwise the
// client is refused.
const fallback = 0x0008

func flagsFor(scheduler string) uint32 {
	if scheduler == "sh" || scheduler == "mh" {
		return fallback
	}
	return 0
}

func (h *Handle) putDestination(at Address, to netip.AddrPort, weight int) error {
	d := destination(to)
	d.Weight = weight
	err := h.moby.NewDestination(at.key(), d)
	if errors.Is(err, unix.EEXIST) {
		err = h.moby.UpdateDestination(at.key(), d)
	}
	if err != nil {
		return fmt.Errorf("add %s to %s: %w", to, at, err)
	}
	return nil
}

// Fill makes a destination count as full, by a limit of one connection: after one more it
// gets no new ones. Unlike at weight 0, the packets of all its connections still reach
// it. A destination that is not there, or belongs to another owner, is left alone; mine
// is false in the latter case.
func (h *Handle) Fill(ctx context.Context, at Address, to netip.AddrPort, owner string) (mine bool, err error) {
	return own(ctx, h.Waiting, at, to, owner, func(note, bool) error {
		d, found, err := h.raw(at, to)
		if err != nil || !found {
			return err
		}
		d.UpperThreshold = 1
		err = h.moby.UpdateDestination(at.key(), d)
		if err != nil && !absent(err) {
			return fmt.Errorf("limit the connections of %s at %s: %w", to, at, err)
		}
		return nil
	})
}

// Quiesce sets the weight of a destination to 0: it keeps its connections and gets no new
// ones. A destination that is not there, or belongs to another owner, is left alone; mine
// is false in the latter case. The error is ErrUnnoted when only the kernel knows it.
func (h *Handle) Quiesce(ctx context.Context, at Address, to netip.AddrPort, owner string) (mine bool, err error) {
	return own(ctx, h.Waiting, at, to, owner, func(n note, found bool) error {
		// First: without the note, the connections can still be waited for.
		err := h.moby.UpdateDestination(at.key(), destination(to))
		if err != nil && !absent(err) {
			return fmt.Errorf("set the weight of %s at %s to 0: %w", to, at, err)
		}
		if !found || n.weight == 0 {
			return nil
		}
		if err := n.quiesce(at, to); err != nil {
			return fmt.Errorf("the weight of %s at %s is 0, and %w: %w", to, at, ErrUnnoted, err)
		}
		return nil
	})
}

// ErrUnnoted says that the kernel has done what was asked, and the note stays as it was.
var ErrUnnoted = errors.New("that could not be noted")

// Remove removes a destination from the virtual service at an address, and the service
// too when it has no destination left. What is not there, or belongs to another owner, is
// no error.
func (h *Handle) Remove(ctx context.Context, at Address, to netip.AddrPort, owner string) error {
	_, err := own(ctx, h.Waiting, at, to, owner, func(note, bool) error {
		if err := h.deleteDestination(at, to); err != nil {
			return err
		}
		_, found, err := h.Destination(at, to)
		if err != nil {
			return err
		}
		if found {
			return hint.Add(fmt.Errorf("remove %s from %s: the kernel still has it", to, at), "run ipvsadm -Ln")
		}
		return errors.Join(forget(at, to), unwatch(to), h.removeEmpty(at))
	})
	return err
}

func (h *Handle) deleteDestination(at Address, to netip.AddrPort) error {
	err := h.moby.DelDestination(at.key(), destination(to))
	if err != nil && !absent(err) {
		return fmt.Errorf("remove %s from %s: %w", to, at, err)
	}
	return nil
}

// removeEmpty deletes the virtual service at an address, and the way to it, unless it has
// destinations or will soon have some.
func (h *Handle) removeEmpty(at Address) error {
	service, found, err := h.Service(at)
	if err != nil || len(service.Destinations) > 0 {
		return err
	}
	// Along with its last virtual service the kernel would drop what is held.
	if held, err := isHeld(at); err != nil || held {
		return err
	}
	if found {
		if err := h.moby.DelService(at.key()); err != nil && !absent(err) {
			return fmt.Errorf("remove virtual service %s: %w", at, err)
		}
	}
	return errors.Join(closePath(at), unassign(at.Addr()))
}

// absent reports whether the kernel knows no such service, or no such destination.
func absent(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
}

func destination(to netip.AddrPort) *ipvs.Destination {
	return &ipvs.Destination{
		Address:         to.Addr().AsSlice(),
		Port:            to.Port(),
		ConnectionFlags: ipvs.ConnectionFlagMasq,
	}
}
