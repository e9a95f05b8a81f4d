package ipvs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Connections are those of one destination, in more detail than its counters: there the
// kernel counts opening ones as active, and ending ones as finished, which it remembers
// for minutes.
type Connections struct {
	// Open are the clients of those that are open.
	Open []netip.AddrPort
	// Opening are those whose client has sent its first packet, and not yet the one
	// behind the answer to that.
	Opening int
	// Crossed are those that have ended but that the kernel takes for open: something has
	// connected to the container directly, from the address and port of their client.
	// They count as active for two minutes.
	Crossed int
	// HalfClosed are those whose client has sent everything and waits for the
	// answer.
	HalfClosed int
	// Unacknowledged are those that the container has closed and the client has not:
	// the end of the answer may have to be sent again.
	Unacknowledged int
	// Flows are those of UDP, which have no end.
	Flows int
}

// connectionList is read through the thread, which may be in a network namespace of its
// own.
const connectionList = "/proc/thread-self/net/ip_vs_conn"

// Connections returns the connections that a virtual service has given to a destination.
// The kernel writes out its whole list for this: 80 bytes for each connection that it
// remembers, of whatever service.
func (h *Handle) Connections(at Address, to netip.AddrPort) (Connections, error) {
	list, err := os.Open(connectionList)
	if errors.Is(err, fs.ErrNotExist) {
		return Connections{}, nil // the kernel is built without it
	}
	if err != nil {
		return Connections{}, fmt.Errorf("count the connections of %s: %w", to, err)
	}
	defer list.Close()
	c, err := countConnections(list, at, to)
	if err != nil {
		return Connections{}, fmt.Errorf("count the connections of %s: %w", to, err)
	}
	return c, nil
}

// countConnections counts those of a destination in the kernel's list:
//
//	Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
//	TCP 0A630002 D2F1 AC110001 1B59 AC110002 0050 ESTABLISHED     899
func countConnections(list io.Reader, at Address, to netip.AddrPort) (Connections, error) {
	var c Connections
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || !strings.EqualFold(fields[0], at.Protocol.String()) ||
			listed(fields[3], fields[4]) != at.AddrPort || listed(fields[5], fields[6]) != to {
			continue
		}
		switch fields[7] {
		case "ESTABLISHED":
			c.Open = append(c.Open, listed(fields[1], fields[2]))
		case "SYN_RECV":
			c.Opening++
		case "SYN_SENT": // the state of a connection that the container itself opens
			c.Crossed++
		case "CLOSE_WAIT": // the client has closed
			c.HalfClosed++
		case "FIN_WAIT", "LAST_ACK": // the container has; both have
			c.Unacknowledged++
		case "UDP":
			c.Flows++
		}
	}
	return c, lines.Err()
}

// listed parses an address as the kernel lists it: IPv4 in 8 hexadecimal digits, IPv6
// with colons. Anything else gives the zero address.
func listed(ip, port string) netip.AddrPort {
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	if strings.Contains(ip, ":") {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(addr, uint16(p))
	}
	n, err := strconv.ParseUint(ip, 16, 32)
	if err != nil || len(ip) != 8 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), uint16(p))
}
