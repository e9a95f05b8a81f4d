package apply

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"service-manager/units/definition"
)

// Listening returns the socket of this host that receives connections, or datagrams, to
// an address, and whether there is one.
func Listening(address definition.Address) (netip.AddrPort, bool) {
	for _, table := range []string{address.Protocol, address.Protocol + "6"} {
		text, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue // there may be no IPv6
		}
		if socket, is := listens(string(text), address); is {
			return socket, true
		}
	}
	return netip.AddrPort{}, false
}

// listens looks for the socket in a table of the kernel.
func listens(table string, address definition.Address) (netip.AddrPort, bool) {
	state := "0A" // LISTEN
	if address.Protocol == definition.UDP {
		state = "07" // not connected
	}
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		socket, ok := parseSocket(fields[1])
		if !ok || socket.Port() != address.Port() {
			continue
		}
		// One of IPv6 for all addresses takes connections of IPv4, too.
		at := socket.Addr().Unmap()
		if at == address.Addr() || at.IsUnspecified() && (at.Is6() || address.Addr().Is4()) {
			return socket, true
		}
	}
	return netip.AddrPort{}, false
}

// parseSocket reads an address and a port as the kernel writes them: 32-bit words in the
// host's byte order, in hexadecimal digits.
func parseSocket(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	bytes, err := hex.DecodeString(host)
	if err != nil || len(bytes)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(bytes); i += 4 {
		binary.NativeEndian.PutUint32(bytes[i:], binary.BigEndian.Uint32(bytes[i:]))
	}
	addr, ok := netip.AddrFromSlice(bytes)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr, uint16(n)), ok && err == nil
}
