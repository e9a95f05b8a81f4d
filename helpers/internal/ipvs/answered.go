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

// Answered returns how many of a destination's open connections wait for nothing: the
// destination sent last, the client has acknowledged it, and neither has sent anything
// for a second. It only knows about destinations that were added with Terms.Watch. The
// kernel writes out its whole list of connections for this, twice.
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

// unwatch undoes Terms.Watch for a destination, unless it is watched at another address.
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

// idleClients returns the clients of the connections to a destination that saw no packet
// for a second, and whose last packet left nothing to acknowledge.
//
// The kernel's connection tracking counts down from each packet: from a lower value if
// the packet left something to acknowledge.
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

// trackingTimeout returns for how many seconds after its last packet a TCP connection in
// that state is tracked.
func trackingTimeout(state string) (uint32, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_" + state)
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	return uint32(seconds), err
}
