package apply

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// addressed returns a change whose document has the address that the host gives to the
// service, if it has none itself. From then on it belongs to the revision. The error says
// why the host gives none.
func (a *Applier) addressed(ctx context.Context, c source.Change) (source.Change, error) {
	if a.Pool != nil {
		c.Document = definition.WithIP(c.Document, a.Pool.First().Addr())
	}
	if definition.HasAddress(c.Document) {
		return c, nil
	}
	addresses, damaged := a.listed()
	if address, ok := addresses[c.Service]; ok {
		c.Document = definition.WithAddress(c.Document, address)
		return c, nil
	}
	if a.Pool == nil || damaged {
		return c, nil // a damaged list may have named it
	}
	given, err := a.Pool.Given()
	if err != nil {
		return c, err
	}
	if address, ok := given[c.Service]; ok {
		c.Document = definition.WithAddress(c.Document, address)
		return c, nil
	}
	try := c
	try.Document = definition.WithAddress(c.Document, a.Pool.First())
	if d, _, _, err := a.validate(try); err != nil || d != nil && d.Worker() {
		return c, nil // a worker needs none, and what is invalid gets none
	}
	a.claiming.Lock()
	defer a.claiming.Unlock()
	a.readClaims()
	var before []netip.AddrPort
	mine := a.claimOf(c.Service)
	for _, address := range slices.Concat(mine.addresses[0], mine.addresses[1]) {
		before = append(before, address.AddrPort)
	}
	listed := slices.Collect(maps.Values(addresses))
	address, isNew, err := a.Pool.Give(ctx, c.Service, before, func(address netip.AddrPort) bool {
		return slices.Contains(listed, address) || a.taken(definition.Address{AddrPort: address, Protocol: definition.TCP}, c.Service)
	})
	if err != nil {
		return c, err
	}
	if isNew {
		a.Log.Info("%s: gets the address %s", c.Service, address)
	}
	c.Document = definition.WithAddress(c.Document, address)
	return c, nil
}

// taken reports whether an address belongs to another service or to a program of the
// host. a.claiming is held.
func (a *Applier) taken(address definition.Address, except name.Service) bool {
	owner, socket := a.inTheWay(address, except)
	return owner != "" || socket.IsValid() && !a.claimOf(except).has(address)
}

// inTheWay returns the service, other than that one, that has an address, or else the
// socket of this host that receives what is sent there.
func (a *Applier) inTheWay(address definition.Address, except name.Service) (owner name.Service, socket netip.AddrPort) {
	if owner = a.owner(address, except); owner != "" || a.Listening == nil {
		return owner, socket
	}
	if at, listens := a.Listening(address); listens {
		socket = at
	}
	return "", socket
}

// listed returns the addresses that the host's administrator gives to services by name.
// It reports damage among them once, and returns the rest.
func (a *Applier) listed() (addresses map[name.Service]netip.AddrPort, damaged bool) {
	if a.Addresses == nil {
		return nil, false
	}
	addresses, err := a.Addresses()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	a.mu.Lock()
	told := a.addresses == problem
	a.addresses = problem
	a.mu.Unlock()
	if !told && err != nil {
		a.Log.Error("%v", err)
	}
	return addresses, err != nil
}

// claim is what a service takes of the things that the services of a host share.
type claim struct {
	// links are the revisions that it is made from: current and good.
	links     [2]name.Rev
	addresses [2][]definition.Address // of these
	// running are other revisions of which a runner may still serve.
	running  []name.Rev
	beside   []definition.Address // of these
	replicas [2]int               // of these, as they say themselves
	runs     int                  // replicas of the current revision
	size     int                  // its bytes, times its replicas
}

func (c claim) has(address definition.Address) bool {
	return slices.Contains(c.addresses[0], address) || slices.Contains(c.addresses[1], address) || slices.Contains(c.beside, address)
}

// claims remembers the claims of services. The disk decides: sm-rollout changes the good
// revision.
type claims struct {
	byService map[name.Service]claim // nil until they are read
	// byAddress lists the services that may have an address, in the order in which they
	// came.
	byAddress map[definition.Address][]name.Service
}

// claimOf returns the claim of a service as it is now. a.claiming is held.
func (a *Applier) claimOf(service name.Service) claim { return a.claimWith(service, nil) }

// claimWith is claimOf with one of the service's definitions at hand, if not nil.
func (a *Applier) claimWith(service name.Service, d *definition.Definition) claim {
	c := &a.claims
	if a.Revisions.Deleted(service) {
		delete(c.byService, service)
		return claim{}
	}
	var now claim
	now.links[0], _ = a.Revisions.Current(service) // the generator reports damage
	now.links[1], _ = a.Revisions.Good(service)
	if now.links == [2]name.Rev{} {
		delete(c.byService, service)
		return claim{}
	}
	now.running, _ = a.Revisions.Recorded(service)
	now.running = slices.DeleteFunc(now.running, func(rev name.Rev) bool { return slices.Contains(now.links[:], rev) })
	known, ok := c.byService[service]
	if ok && known.links == now.links && slices.Equal(known.running, now.running) {
		return known
	}
	for _, rev := range now.running {
		if d, err := a.Revisions.Read(service.Revision(rev)); err == nil {
			now.beside = append(now.beside, d.Addresses()...)
		}
	}
	for i, rev := range now.links {
		switch at := slices.Index(known.links[:], rev); {
		case rev == "":
		case d != nil && d.Rev == rev:
			now.addresses[i], now.replicas[i] = d.Addresses(), d.Replicas
		case i == 1 && rev == now.links[0]:
			now.addresses[1], now.replicas[1] = now.addresses[0], now.replicas[0]
		case at >= 0:
			now.addresses[i], now.replicas[i] = known.addresses[at], known.replicas[at]
		default:
			if d, err := a.Revisions.Read(service.Revision(rev)); err == nil {
				now.addresses[i], now.replicas[i] = d.Addresses(), d.Replicas
			}
		}
	}
	current := service.Revision(now.links[0])
	if info, err := os.Stat(a.Revisions.Path(current)); current.Rev != "" && err == nil {
		now.runs = max(1, now.replicas[0])
		if scale, err := a.Revisions.Scale(current); err == nil && scale.By != "" {
			now.runs = scale.Replicas
		}
		now.size = int(info.Size()) * now.runs
	}
	c.byService[service] = now
	for _, address := range slices.Concat(now.addresses[0], now.addresses[1], now.beside) {
		if !slices.Contains(c.byAddress[address], service) {
			c.byAddress[address] = append(c.byAddress[address], service)
		}
	}
	return now
}

// readClaims reads the claims of all services, once.
func (a *Applier) readClaims() {
	if a.claims.byService != nil {
		return
	}
	a.claims = claims{byService: make(map[name.Service]claim), byAddress: make(map[definition.Address][]name.Service)}
	services, _ := a.Revisions.Services() // the generator reports what else is in the folder
	for _, service := range services {
		a.claimOf(service)
	}
}

// owner returns the service, other than that one, that has an address, or the empty
// string. a.claiming is held.
func (a *Applier) owner(address definition.Address, except name.Service) name.Service {
	var owner name.Service
	a.claims.byAddress[address] = slices.DeleteFunc(a.claims.byAddress[address], func(service name.Service) bool {
		has := a.claimOf(service).has(address)
		if has && owner == "" && service != except {
			owner = service
		}
		return !has
	})
	return owner
}

// refused says that a definition is valid, but that this host does not accept it as long
// as things are as they are.
type refused struct {
	*definition.Invalid
	owner   name.Service       // the one in the way, empty when it is something else
	address definition.Address // the one that owner has
}

func (r *refused) Unwrap() error { return r.Invalid }

// admit returns a *refused unless the host can accept a revision. What a service has
// already it keeps. a.claiming is held.
func (a *Applier) admit(d *definition.Definition, size int) error {
	no := func(path, format string, args ...any) *refused {
		problem := definition.Problem{Path: path, Reason: fmt.Sprintf(format, args...)}
		return &refused{Invalid: &definition.Invalid{Service: string(d.Service), Revision: string(d.Rev), Problems: []definition.Problem{problem}}}
	}
	a.readClaims()
	mine := a.claimOf(d.Service)
	if mine.links[0] == d.Rev {
		return nil
	}
	if mine.links[0] == "" {
		if why := trap(a.Root, string(d.Service)); why != "" {
			return no("_id", "must not be %q: %s; choose another name", d.Service, why)
		}
		if a.outgrows(definition.MaxServices, func(claim) int { return 1 }, claim{}, 1) {
			return no("", "this host has %d services, and cannot have more; delete one", definition.MaxServices)
		}
	}
	if d.Replicas > mine.runs && a.outgrows(definition.MaxServices, func(c claim) int { return c.runs }, mine, d.Replicas) {
		return no("replicas", "the services of this host would have more than %d replicas; lower some, or delete some services", definition.MaxServices)
	}
	size *= d.Replicas
	if size > mine.size && a.outgrows(definition.MaxTotal, func(c claim) int { return c.size }, mine, size) {
		return no("", "the definitions of this host, times their replicas, would have more than %d MiB; make some smaller, or delete some", definition.MaxTotal>>20)
	}
	for _, e := range d.Endpoints {
		if mine.has(e.Address) {
			continue
		}
		owner, socket := a.inTheWay(e.Address, d.Service)
		if owner != "" {
			refused := no(e.Field, "%s is the address of %s; choose another one, or delete %s, and this definition will be applied", e.Address, owner, owner)
			refused.owner, refused.address = owner, e.Address
			return refused
		}
		if socket.IsValid() {
			return no(e.Field, "a program of this host listens on %s, and would get no more connections; choose another port, or stop it (see 'ss -lntup'), and this definition will be applied", socket)
		}
	}
	return nil
}

// outgrows reports whether all claims together would exceed most, if one of them were a
// new one of that size. It looks at the disk only when that seems so.
func (a *Applier) outgrows(most int, size func(claim) int, before claim, after int) bool {
	sum := func() int {
		sum := after
		for _, c := range a.claims.byService {
			sum += size(c)
		}
		if before.links[0] != "" {
			sum -= size(before)
		}
		return sum
	}
	if sum() <= most {
		return false
	}
	for _, service := range slices.Collect(maps.Keys(a.claims.byService)) {
		a.claimOf(service)
	}
	return sum() > most
}
