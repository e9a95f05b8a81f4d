package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// An Endpoint is where clients reach a service, and where its containers listen for
// them.
type Endpoint struct {
	Address   Address
	Port      uint16 // where the container listens
	Scheduler string // how IPVS chooses among destinations
	Field     string // the path of the field that says the address
}

// An Address is a service address: one service of a host has it for itself.
type Address struct {
	netip.AddrPort
	Protocol string // TCP or UDP
}

// String returns the address as sm-ipvs reads it: with the protocol when that is not TCP.
func (a Address) String() string {
	if a.Protocol == TCP {
		return a.AddrPort.String()
	}
	return a.AddrPort.String() + "/" + a.Protocol
}

// UDP is the protocol of an endpoint without connections.
const UDP = "udp"

// maxEndpoints is how many endpoints a service may have. Each is several commands of a
// unit.
const maxEndpoints = 64

// endpoints reads the list of endpoints.
func (p *parser) endpoints(path string, value json.RawMessage) {
	elements, ok := p.elements(path, value, `must be a list of objects like {"address": "172.17.0.1:7001", "port": 80}`, maxEndpoints)
	if ok && len(elements) == 0 {
		p.problem(path, "must have an endpoint; a worker has no endpoints at all")
	}
	for i, element := range elements {
		at := fmt.Sprintf("%s[%d]", path, i)
		given, ok := p.members(at, element, "must be an object")
		if !ok {
			continue
		}
		before := len(p.problems) + p.more
		p.endpoint = absent().endpoint
		p.object(path, at+".", given)
		p.complete(at+".", given, required(path))
		if len(p.problems)+p.more > before {
			continue
		}
		for _, other := range p.d.Endpoints {
			if other.Address == p.endpoint.Address {
				p.problem(at+".address", "%s is already that of %s", other.Address, other.Field)
			}
		}
		p.endpoint.Field = at + ".address"
		p.d.Endpoints = append(p.d.Endpoints, p.endpoint)
	}
}

// FirstTCP returns the first endpoint for TCP, and false when there is none.
func (d *Definition) FirstTCP() (Endpoint, bool) {
	for _, e := range d.Endpoints {
		if e.Address.Protocol == TCP {
			return e, true
		}
	}
	return Endpoint{}, false
}

func checkProtocol(s string) error {
	if s != TCP && s != UDP {
		return errors.New(`must be "tcp" or "udp"`)
	}
	return nil
}

func checkScheduler(s string) error {
	switch s {
	case "rr", "wlc", "sh", "mh":
		return nil
	}
	return errors.New(`must be "rr", "wlc", "sh" or "mh"`)
}
