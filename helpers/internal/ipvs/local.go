package ipvs

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// CheckLocal returns an error that names the way out unless IPVS can serve at
// the address: the kernel looks at IPVS only for packets that it would deliver
// to this host, and never for its loopback addresses.
func CheckLocal(addr netip.Addr) error {
	if addr.IsLoopback() {
		return hint.Add(fmt.Errorf("%s is a loopback address, which IPVS cannot serve", addr), "use another address of this host (run ip -brief address), such as docker0's")
	}
	// A route of type local may cover a whole prefix.
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err == nil {
		for _, route := range routes {
			if route.Type == unix.RTN_LOCAL {
				return nil
			}
		}
	}
	return hint.Add(fmt.Errorf("%s is not an address of this host", addr), "use one that is (run ip -brief address), such as docker0's, or give the host this one, with ip address add or with --assign")
}
