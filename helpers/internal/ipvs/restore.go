package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
)

// Restored is a destination that was missing.
type Restored struct {
	Address     Address
	Destination netip.AddrPort
}

// Restore puts back the destinations that are noted in this network namespace and that
// the kernel no longer has: those at the given addresses, or at every address when none
// is given. Each gets the weight that it had, so one that drains gets no new
// connections. It returns what it put back, also beside an error.
func (h *Handle) Restore(ctx context.Context, addresses ...Address) ([]Restored, error) {
	unlock, err := lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(noteFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up what destinations there were: %w", err)
	}
	here, err := namespace()
	if err != nil {
		return nil, err
	}
	var restored []Restored
	var failed []error
	for _, entry := range entries {
		at, to, err := notePlace(entry.Name())
		if err != nil || len(addresses) > 0 && !slices.Contains(addresses, at) {
			continue
		}
		done, err := h.restore(at, to, here)
		if err != nil {
			failed = append(failed, err)
		}
		if done {
			restored = append(restored, Restored{at, to})
		}
	}
	return restored, errors.Join(failed...)
}

// restore puts a destination back unless it is there. The lock must be held.
func (h *Handle) restore(at Address, to netip.AddrPort, here string) (done bool, err error) {
	n, found, err := readNote(at, to)
	if err != nil || !found || n.namespace != here {
		return false, err
	}
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
	if _, err := h.ensureService(at, n.scheduler); err != nil {
		return false, err
	}
	if err := h.putDestination(at, to, n.weight); err != nil {
		return false, errors.Join(err, h.removeEmpty(at))
	}
	return true, nil
}
