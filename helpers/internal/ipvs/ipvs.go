// Package ipvs changes and lists the kernel's virtual services: addresses of this host at
// which the kernel itself hands each new connection to one of several destinations.
//
// It wraps github.com/moby/ipvs, with which everything seems to succeed on a kernel
// without IPVS: here every handle has been seen to talk to IPVS, and what was written is
// read back.
package ipvs

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// Service is a virtual service as the kernel has it.
type Service struct {
	Address      Address // zero when the service belongs to a firewall mark
	FWMark       uint32  // 0 when the service has an address
	Scheduler    string
	Destinations []Destination
}

// Name is what messages call the service: its address, or its firewall mark.
func (s Service) Name() string {
	if s.FWMark != 0 {
		return fmt.Sprintf("fwmark:%d", s.FWMark)
	}
	return s.Address.String()
}

// Destination is one backend of a virtual service (a real server, in IPVS's own words) as
// the kernel has it.
type Destination struct {
	Address netip.AddrPort
	Weight  int // 0: no new connections
	// Connections that are open or opening (from the client's first packet on, so
	// that one that is far away counts before its handshake is over), and ones that
	// are closing or closed and remembered for a while.
	ActiveConnections, InactiveConnections int
	Masquerading                           bool // how packets get there
}

// Handle is a connection to IPVS in the network namespace in which it was opened.
type Handle struct {
	moby table
	// Waiting, if not nil, is told who else is changing virtual services when this has
	// waited for that for long.
	Waiting func(holder string)
}

// A table holds the virtual services: the kernel's, or a file where tests run on a
// kernel that has none.
type table interface {
	GetService(*ipvs.Service) (*ipvs.Service, error)
	GetServices() ([]*ipvs.Service, error)
	NewService(*ipvs.Service) error
	UpdateService(*ipvs.Service) error
	DelService(*ipvs.Service) error
	GetDestinations(*ipvs.Service) ([]*ipvs.Destination, error)
	NewDestination(*ipvs.Service, *ipvs.Destination) error
	UpdateDestination(*ipvs.Service, *ipvs.Destination) error
	DelDestination(*ipvs.Service, *ipvs.Destination) error
	Close()
}

// ErrUnavailable says that the running kernel has no IPVS, or has not loaded it.
var ErrUnavailable = errors.New("the kernel has no IPVS")

// ErrNotPermitted says that this process may not use IPVS.
var ErrNotPermitted = hint.Add(errors.New("not permitted to use IPVS"), "run this as root (it needs CAP_NET_ADMIN)")

// Open returns a handle. The error is ErrUnavailable when IPVS is not loaded
// (see Load), and ErrNotPermitted without CAP_NET_ADMIN.
func Open() (*Handle, error) {
	if err := available(); err != nil {
		return nil, err
	}
	moby, err := openTable()
	if err != nil {
		return nil, fmt.Errorf("open IPVS: %w", err)
	}
	h := &Handle{moby: moby}
	// The library opens a socket even where there is no IPVS. Only IPVS answers a
	// question about an impossible service with "no such service".
	impossible := Address{netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 0), TCP}
	if _, err := moby.GetService(impossible.key()); err != nil && !errors.Is(err, unix.ESRCH) {
		h.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, ErrNotPermitted
		}
		return nil, fmt.Errorf("open IPVS: unexpected answer: %w", err)
	}
	return h, nil
}

// Close releases the handle.
func (h *Handle) Close() { h.moby.Close() }

// key returns what names a virtual service in requests.
func (a Address) key() *ipvs.Service {
	service := &ipvs.Service{
		Address:       a.Addr().AsSlice(),
		Port:          a.Port(),
		Protocol:      uint16(a.Protocol),
		AddressFamily: unix.AF_INET,
		Netmask:       0xffffffff,
	}
	if a.Addr().Is6() {
		service.AddressFamily = unix.AF_INET6
		service.Netmask = 128 // a prefix length here, a mask in IPv4
	}
	return service
}

// Services returns every virtual service in this network namespace.
func (h *Handle) Services() ([]Service, error) {
	found, err := h.moby.GetServices()
	if err != nil {
		return nil, fmt.Errorf("list virtual services: %w", err)
	}
	services := make([]Service, 0, len(found))
	for _, f := range found {
		service, err := h.complete(f)
		if err != nil {
			return nil, err
		}
		services = append(services, service)
	}
	return services, nil
}

// Service returns the virtual service at an address, and false when there is none.
func (h *Handle) Service(at Address) (Service, bool, error) {
	found, err := h.moby.GetService(at.key())
	if errors.Is(err, unix.ESRCH) {
		return Service{}, false, nil
	}
	if err != nil {
		return Service{}, false, fmt.Errorf("look up virtual service %s: %w", at, err)
	}
	service, err := h.complete(found)
	return service, err == nil, err
}

// complete adds a virtual service's destinations.
func (h *Handle) complete(found *ipvs.Service) (Service, error) {
	service := Service{FWMark: found.FWMark, Scheduler: found.SchedName}
	if found.FWMark == 0 {
		addr, _ := netip.AddrFromSlice(found.Address)
		service.Address = Address{netip.AddrPortFrom(addr, found.Port), Protocol(found.Protocol)}
	}
	destinations, err := h.moby.GetDestinations(found)
	if err != nil {
		return Service{}, fmt.Errorf("list destinations of %s: %w", service.Name(), err)
	}
	for _, d := range destinations {
		service.Destinations = append(service.Destinations, converted(d))
	}
	return service, nil
}

// Destination returns one destination of a virtual service, and false when the
// service does not exist or has no such destination.
func (h *Handle) Destination(at Address, to netip.AddrPort) (Destination, bool, error) {
	d, found, err := h.raw(at, to)
	if err != nil || !found {
		return Destination{}, false, err
	}
	return converted(d), true, nil
}

// raw returns a destination with everything that the kernel knows about it, such as the
// limits that Fill sets.
func (h *Handle) raw(at Address, to netip.AddrPort) (*ipvs.Destination, bool, error) {
	all, err := h.moby.GetDestinations(at.key())
	if absent(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("list destinations of %s: %w", at, err)
	}
	for _, d := range all {
		if placeOf(d) == to {
			return d, true, nil
		}
	}
	return nil, false, nil
}

func converted(d *ipvs.Destination) Destination {
	return Destination{
		Address:             placeOf(d),
		Weight:              d.Weight,
		ActiveConnections:   d.ActiveConnections,
		InactiveConnections: d.InactiveConnections,
		Masquerading:        d.ConnectionFlags&ipvs.ConnectionFlagFwdMask == ipvs.ConnectionFlagMasq,
	}
}

func placeOf(d *ipvs.Destination) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(d.Address)
	return netip.AddrPortFrom(addr, d.Port)
}
