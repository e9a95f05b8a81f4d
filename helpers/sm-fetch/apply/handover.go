package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// handoverPause is the time between looks at whether a successor serves.
const handoverPause = 100 * time.Millisecond

// handOver waits, before a service goes, until another one that has received its address
// serves there: a file that was renamed is another service.
func (a *Applier) handOver(ctx context.Context, service name.Service) error {
	var told name.Service
	reloaded := false
	defer a.handingOver(service, false)
	for {
		successor, address, failed := a.successor(ctx, service)
		if successor == "" {
			return nil
		}
		// Its start begins with a reload, which otherwise comes only later.
		if a.Retry == 0 && !reloaded {
			reloaded = true
			if err := a.Reload(ctx); err != nil {
				return err
			}
			continue
		}
		if failed && a.Retry == 0 {
			return hint.Add(fmt.Errorf("%s: still serves %s, because %s, which gets that address, failed", service, address, successor), "run systemctl status %s", successor.Manager())
		}
		a.handingOver(service, true)
		if told != successor {
			told = successor
			a.Log.Info("%s: serves %s until %s does", service, address, successor)
		}
		if !a.pause(ctx, handoverPause) {
			return context.Cause(ctx)
		}
	}
}

// handingOver notes whether a service that goes waits for its successor.
func (a *Applier) handingOver(service name.Service, waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.work[service]; w != nil {
		w.handingOver = waits
		w.waited = w.waited || waits
	}
}

// waited reports whether a service that goes had to wait for a successor.
func (a *Applier) waited(service name.Service) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.work[service]
	return w != nil && w.waited
}

// waiting returns which other services will get which addresses from changes that are
// being applied, or that wait for the end of work on them. Services that themselves wait
// for a successor are left out: two could wait for each other.
func (a *Applier) waiting(ctx context.Context, service name.Service) map[definition.Address]name.Service {
	var changes []source.Change
	a.mu.Lock()
	for other, w := range a.work {
		if other == service || w.handingOver {
			continue
		}
		for _, c := range []*source.Change{w.waiting, w.now} {
			if c != nil && !c.Deleted {
				changes = append(changes, *c)
			}
		}
	}
	for other, r := range a.refused {
		// It is about to be taken.
		if other != service && r.owner != "" && a.Revisions.Deleted(r.owner) {
			changes = append(changes, r.change)
		}
	}
	a.mu.Unlock()
	get := make(map[definition.Address]name.Service)
	for _, c := range changes {
		// What is invalid, or refused for another reason, gets nothing.
		addressed, _ := a.addressed(ctx, c) // without an address it is invalid
		if d, _, _, err := a.validate(addressed); err == nil && d != nil {
			for _, e := range d.Endpoints {
				get[e.Address] = c.Service
			}
		}
	}
	return get
}

// successor returns the service that has received an address where a service that goes
// has served, and that has yet to serve there, and whether that has failed.
func (a *Applier) successor(ctx context.Context, service name.Service) (successor name.Service, address definition.Address, failed bool) {
	waiting := a.waiting(ctx, service)
	a.claiming.Lock()
	defer a.claiming.Unlock()
	good, _ := a.Revisions.Good(service)
	if good == "" {
		return "", address, false
	}
	d, err := a.Revisions.Read(service.Revision(good))
	if err != nil {
		return "", address, false
	}
	a.readClaims()
	for _, address := range d.Addresses() {
		successor := a.owner(address, service)
		if successor == "" {
			// It may get the address as soon as a service of the same name has gone.
			if next := waiting[address]; next != "" {
				return next, address, false
			}
			continue
		}
		c := a.claimOf(successor)
		if c.links[1] != "" && slices.Contains(c.addresses[1], address) {
			continue
		}
		state, _ := a.Revisions.State(successor)
		return successor, address, slices.Contains(state.Failed, c.links[0])
	}
	return "", address, false
}
