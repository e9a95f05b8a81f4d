package ipvs

import (
	"context"
	"fmt"
)

// What follows is for a program that watches over destinations while they exist. It
// changes only the kernel's table, and no note: what their units said stays true, and
// applies again when nothing is watching.

// Wanted is a destination as its unit wants it.
type Wanted struct {
	Place
	Owner  string // empty when it is not known
	Weight int    // 0 when it drains, or is not open yet
}

// Wanted returns the destinations that are noted in this network namespace, in a fixed
// order.
func (h *Handle) Wanted(ctx context.Context) ([]Wanted, error) {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return nil, err
	}
	defer unlock()
	places, notes, err := notesHere()
	wanted := make([]Wanted, 0, len(places))
	for _, p := range places {
		wanted = append(wanted, Wanted{p, notes[p].owner, notes[p].weight})
	}
	return wanted, err
}

// Rest keeps new connections away from a destination while it is unfit for them; with
// rests false the destination gets back the weight that its unit gave it. One that is not
// there, drains, or belongs to another owner by now is left alone.
func (h *Handle) Rest(ctx context.Context, d Wanted, rests bool) error {
	_, err := own(ctx, h.Waiting, d.Address, d.Destination, d.Owner, func(n note, found bool) error {
		now, there, err := h.raw(d.Address, d.Destination)
		if err != nil || !there || !found || n.weight == 0 {
			return err
		}
		weight := n.weight
		if rests {
			weight = 0
		}
		if now.Weight == weight {
			return nil
		}
		now.Weight = weight
		if err := h.moby.UpdateDestination(d.Address.key(), now); err != nil && !absent(err) {
			return fmt.Errorf("set the weight of %s at %s to %d: %w", d.Destination, d.Address, weight, err)
		}
		return nil
	})
	return err
}

// Discard removes a destination about which there is no note, and reports whether it did.
func (h *Handle) Discard(ctx context.Context, p Place) (bool, error) {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return false, err
	}
	defer unlock()
	// One may have been added a moment ago.
	if _, noted, err := readNote(p.Address, p.Destination); err != nil || noted {
		return false, err
	}
	return true, h.deleteDestination(p.Address, p.Destination)
}

// Evict removes a destination whose container has ended, before its unit does. The
// virtual service stays, for the unit to remove or for the container to be started again.
func (h *Handle) Evict(ctx context.Context, d Wanted) error {
	_, err := own(ctx, h.Waiting, d.Address, d.Destination, d.Owner, func(n note, found bool) error {
		if !found {
			return nil
		}
		return h.deleteDestination(d.Address, d.Destination)
	})
	return err
}
