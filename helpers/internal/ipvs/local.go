package ipvs

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CheckLocal returns an error that names the way out unless IPVS can serve at
// the address: the kernel looks at IPVS only for packets that it would deliver
// to this host, and never for its loopback addresses.
func CheckLocal(addr netip.Addr) error {
	if addr.IsLoopback() {
		return fmt.Errorf("%s is a loopback address, which IPVS cannot serve; use another address of this host (see 'ip -brief address'), such as docker0's", addr)
	}
	// A route of type local covers whole prefixes that were made local, too.
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err == nil {
		for _, route := range routes {
			if route.Type == unix.RTN_LOCAL {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not an address of this host; use one that is (see 'ip -brief address'), such as docker0's, or give the host this one with 'ip address add'", addr)
}
