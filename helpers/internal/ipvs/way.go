package ipvs

import (
	"slices"
	"time"
)

// A Way tells whether the way to addresses is open, as Reachable does, again and again. It
// remembers that it was, for a minute at most: as long as no program has changed anything
// in nftables, it still is.
type Way struct {
	open       bool
	addresses  []Address
	generation uint32
	looked     time.Time
}

// Reachable is the function of that name.
func (w *Way) Reachable(addresses ...Address) (bool, error) {
	// What changes from here on has another number.
	now, err := generation()
	if err == nil && w.open && now == w.generation && slices.Equal(addresses, w.addresses) && time.Since(w.looked) < time.Minute {
		return true, nil
	}
	looked := time.Now()
	open, problem := Reachable(addresses...)
	w.open = open && err == nil && problem == nil
	w.addresses, w.generation, w.looked = slices.Clone(addresses), now, looked
	return open, problem
}
