package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"service-manager/helpers/internal/running"
)

// Restore puts back the destinations that are noted in this network namespace and missing
// in the kernel: those at the given addresses, or at every address when none is given.
// One whose container has ended stays away. Each gets the weight that it had, so one that
// drains gets no new connections. The way to them is put back, too. It returns what it
// put back, even with an error.
func (h *Handle) Restore(ctx context.Context, addresses ...Address) ([]Place, error) {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return nil, err
	}
	defer unlock()
	mine, notes, err := notesHere(addresses...)
	var restored []Place
	failed := []error{err, openPaths(notes)}
	for _, p := range mine {
		if notes[p].assign {
			failed = append(failed, assign(p.Address.Addr()))
		}
		done, err := h.restore(p.Address, p.Destination, notes[p])
		failed = append(failed, err)
		if done {
			restored = append(restored, p)
		}
	}
	return restored, errors.Join(failed...)
}

// restore puts a destination back, as it is noted, unless it is there. The lock must be
// held.
func (h *Handle) restore(at Address, to netip.AddrPort, n note) (done bool, err error) {
	service, found, err := h.Service(at)
	if err != nil {
		return false, err
	}
	if found {
		if slices.ContainsFunc(service.Destinations, func(d Destination) bool { return d.Address == to }) {
			return false, nil
		}
		n.scheduler = service.Scheduler
	}
	if ended, err := running.Host.Ended(n.owner); err != nil || ended {
		return false, err
	}
	if _, err := h.ensureService(at, n.scheduler); err != nil {
		return false, err
	}
	if err := h.putDestination(at, to, n.weight); err != nil {
		return false, errors.Join(err, h.removeEmpty(at))
	}
	return true, nil
}
