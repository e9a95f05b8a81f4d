//go:build !ipvs_file

package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/ipvs/reach"
)

// Answered returns how many of the open connections of a destination wait for nothing:
// the destination has sent last, the client has got that, and since then neither has
// sent anything for a second. It knows only about destinations that were added with
// Terms.Watch. The kernel writes its whole list of connections for this, twice.
func (h *Handle) Answered(at Address, to netip.AddrPort) (int, error) {
	connections, err := h.Connections(at, to)
	if err != nil || len(connections.Open) == 0 {
		return 0, err
	}
	answered, err := reach.Answered(to)
	if err != nil || len(answered) == 0 {
		return 0, err
	}
	idle, err := idleClients(at, to)
	if err != nil {
		return 0, fmt.Errorf("find the idle connections of %s: %w", to, err)
	}
	n := 0
	for _, client := range connections.Open {
		if answered[client] && idle[client] {
			n++
		}
	}
	return n, nil
}

// unwatch ends Terms.Watch of a destination, unless it is watched at another address.
// The lock must be held.
func unwatch(to netip.AddrPort) error {
	places, err := noted()
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.Destination != to {
			continue
		}
		if n, found, err := readNote(p.Address, to); err != nil || found && n.watch {
			return err
		}
	}
	return reach.Unwatch(to)
}

// idleClients returns the clients of the connections to a destination on which no packet
// was seen for a second, and whose last one left nothing to acknowledge.
//
// The kernel's connection tracking counts down from when it has seen a packet: from a
// lower value when that left something to acknowledge.
func idleClients(at Address, to netip.AddrPort) (map[netip.AddrPort]bool, error) {
	whole, err := trackingTimeout("established")
	if err != nil {
		return nil, err
	}
	unacknowledged, err := trackingTimeout("unacknowledged")
	if err != nil {
		return nil, err
	}
	family := netlink.InetFamily(unix.AF_INET)
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
	// The list may change while it is written: each connection in it is as it was.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	idle := make(map[netip.AddrPort]bool)
	for _, f := range flows {
		tcp, is := f.ProtoInfo.(*netlink.ProtoInfoTCP)
		if !is || tcp.State != nl.TCP_CONNTRACK_ESTABLISHED ||
			end(f.Forward.DstIP, f.Forward.DstPort) != at.AddrPort || end(f.Reverse.SrcIP, f.Reverse.SrcPort) != to {
			continue
		}
		// Whole seconds, rounded down.
		if f.TimeOut > unacknowledged && f.TimeOut+2 <= whole {
			idle[end(f.Forward.SrcIP, f.Forward.SrcPort)] = true
		}
	}
	return idle, nil
}

func end(ip []byte, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// trackingTimeout returns for how many seconds connections of TCP in that state are
// tracked from the last packet on.
func trackingTimeout(state string) (uint32, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_" + state)
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	return uint32(seconds), err
}
