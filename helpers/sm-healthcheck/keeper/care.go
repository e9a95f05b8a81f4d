package keeper

import (
	"service-manager/helpers/internal/ipvs"
)

// health is what is known about a container, and whether that has been dealt with.
type health int

const (
	fine     health = iota // nothing needs to be done
	unproven               // it has yet to answer its first probe
	well                   // it has just become healthy
	failing
	ended
)

// care is what has to be done about the destinations of a host.
type care struct {
	restore []ipvs.Address // something is missing there
	evict   []ipvs.Wanted  // the container has ended
	discard []ipvs.Place   // no unit wants it, at an address at which others are wanted
	rest    []ipvs.Wanted  // is to get no new connections
	serve   []ipvs.Wanted  // is to get as many as its unit said
	last    []ipvs.Wanted  // would rest if another one got connections
}

// careFor decides about the destinations of a host, and does nothing itself. wanted are
// sorted by address; services are those that the kernel has.
func careFor(wanted []ipvs.Wanted, services []ipvs.Service, of func(owner string) health) care {
	weights := make(map[ipvs.Place]int)
	for _, s := range services {
		for _, d := range s.Destinations {
			weights[ipvs.Place{Address: s.Address, Destination: d.Address}] = d.Weight
		}
	}
	var c care
	ours := make(map[ipvs.Address]bool)
	for len(wanted) > 0 {
		at := wanted[0].Address
		ours[at] = true
		n := 1
		for n < len(wanted) && wanted[n].Address == at {
			n++
		}
		c.decide(wanted[:n], weights, of)
		wanted = wanted[n:]
	}
	for p := range weights {
		if ours[p.Address] {
			c.discard = append(c.discard, p)
		}
	}
	return c
}

// decide decides about the destinations of one virtual service, and deletes them from
// weights, which has those that exist.
func (c *care) decide(wanted []ipvs.Wanted, weights map[ipvs.Place]int, of func(owner string) health) {
	type one struct {
		ipvs.Wanted
		health
		weight int
	}
	var some []one // that may get connections
	missing, gets, kept, doubt := false, false, false, false
	for _, d := range wanted {
		o := one{Wanted: d, health: of(d.Owner)}
		var there bool
		o.weight, there = weights[d.Place]
		delete(weights, d.Place)
		switch {
		case o.health == ended && there:
			c.evict = append(c.evict, d)
			continue
		case o.health == ended:
			continue
		case !there:
			missing = true
			o.weight = d.Weight
		}
		if d.Weight == 0 { // it drains, or has yet to open
			continue
		}
		some = append(some, o)
		gets = gets || o.health == well || o.health != failing && o.weight > 0
		kept = kept || o.health == failing && o.weight > 0
		doubt = doubt || o.health == failing || o.health == unproven
	}
	if missing {
		c.restore = append(c.restore, wanted[0].Address)
	}
	// All fail, perhaps for a reason that they share, or the way to probe them is
	// blocked. Those that get connections keep them: nothing would be better without.
	for _, o := range some {
		switch {
		case o.health == well && o.weight == 0:
			c.serve = append(c.serve, o.Wanted)
		case o.health == failing && gets && o.weight > 0:
			c.rest = append(c.rest, o.Wanted)
		case o.health == failing && !gets && o.weight > 0:
			c.last = append(c.last, o.Wanted)
		case !gets && !kept && doubt && o.weight == 0:
			c.serve = append(c.serve, o.Wanted)
		}
	}
}
