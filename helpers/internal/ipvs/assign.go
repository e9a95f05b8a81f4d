package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// Link is the interface with the addresses that were added to the host for virtual
// services. It leads nowhere.
const Link = "sm-addresses"

// assign adds an address to the host, unless it has it. The lock must be held.
func assign(addr netip.Addr) error {
	if CheckLocal(addr) == nil {
		return nil
	}
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: Link}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return hint.Add(fmt.Errorf("make the interface %s for %s: %w", Link, addr, err), "run modprobe dummy as root, on a kernel that has that module")
	}
	link, err := netlink.LinkByName(Link)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err == nil {
		err = netlink.AddrAdd(link, single(addr))
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give the interface %s the address %s: %w", Link, addr, err)
	}
	return nil
}

// unassign removes an address that assign has added, unless there is a note about a
// destination at it, or clients of another port of it are kept waiting. The interface goes
// with its last address. The lock must be held.
func unassign(addr netip.Addr) error {
	link, err := netlink.LinkByName(Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the interface %s: %w", Link, err)
	}
	places, err := noted()
	if err != nil || slices.ContainsFunc(places, func(p Place) bool { return p.Address.Addr() == addr }) {
		return err
	}
	if held, err := holdsOf(addr); err != nil || held {
		return err
	}
	err = netlink.AddrDel(link, single(addr))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take the address %s from the interface %s: %w", addr, Link, err)
	}
	left, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of the interface %s: %w", Link, err)
	}
	// The kernel adds a link-local one.
	left = slices.DeleteFunc(left, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
	if len(left) > 0 {
		return nil
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the interface %s: %w", Link, err)
	}
	return nil
}

// single is an address without a network, usable at once.
func single(addr netip.Addr) *netlink.Addr {
	bits := addr.BitLen()
	return &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, bits)}, Flags: unix.IFA_F_NODAD}
}
