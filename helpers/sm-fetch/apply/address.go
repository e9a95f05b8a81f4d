package apply

import (
	"maps"
	"net/netip"
	"slices"
)

// claim notes the address of a revision and warns when other services have it,
// too: both get its requests. That may be meant, or pass, as when a service is on
// its way to another name, so it is no error.
func (a *Applier) claim(service, rev string) {
	d, err := a.Revisions.Read(service, rev)
	if err != nil {
		return // it was valid a moment ago; who reads it next reports it
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.readAddresses()
	a.addresses[service] = d.Address
	for _, other := range slices.Sorted(maps.Keys(a.addresses)) {
		if other != service && a.addresses[other] == d.Address {
			a.Log.Warning("%s %s: address: %s is that of %s, too; requests to it go to either", service, rev, d.Address, other)
		}
	}
}

// release forgets the address of a service that is deleted.
func (a *Applier) release(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.readAddresses()
	delete(a.addresses, service)
}

// readAddresses reads the addresses of all services, once.
func (a *Applier) readAddresses() {
	if a.addresses != nil {
		return
	}
	a.addresses = make(map[string]netip.AddrPort)
	services, _ := a.Revisions.Services() // who reads the folder reports what else is in it
	for _, service := range services {
		current, _ := a.Revisions.Current(service)
		if current == "" || a.Revisions.Deleted(service) {
			continue
		}
		if d, err := a.Revisions.Read(service, current); err == nil {
			a.addresses[service] = d.Address
		}
	}
}
