package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Protocol is an IP protocol number. Virtual services are made for TCP and UDP; others
// only occur in listings.
type Protocol uint16

// The protocols of virtual services.
const (
	TCP Protocol = unix.IPPROTO_TCP
	UDP Protocol = unix.IPPROTO_UDP
)

// String returns the protocol's name in lower case, or its number.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return fmt.Sprint(uint16(p))
}

// Address is where clients reach a virtual service.
type Address struct {
	netip.AddrPort
	Protocol Protocol
}

// String returns the form that ParseAddress reads: IP:port, followed by a slash and the
// protocol when that is not TCP.
func (a Address) String() string {
	if a.Protocol == TCP {
		return a.AddrPort.String()
	}
	return a.AddrPort.String() + "/" + a.Protocol.String()
}

// fileName returns the name of files about the address.
func (a Address) fileName() string { return strings.ReplaceAll(a.String(), "/", "-") }

// addressOf is the inverse of fileName.
func addressOf(fileName string) (Address, error) {
	return ParseAddress(strings.Replace(fileName, "-", "/", 1))
}

// ErrNoHost says that a destination has a port but no IP address, as when that is the
// address of a container that never started.
var ErrNoHost = errors.New("the container has no address")

// ParseAddress reads 172.17.0.1:7001 or [fd00::1]:7001, either of them optionally
// followed by /tcp (the default) or /udp.
func ParseAddress(text string) (Address, error) {
	protocol := TCP
	plain, suffix, found := strings.Cut(text, "/")
	if found {
		switch suffix {
		case "tcp":
		case "udp":
			protocol = UDP
		default:
			return Address{}, fmt.Errorf("address %q: unknown protocol %q: tcp or udp", text, suffix)
		}
	}
	addrPort, err := parseAddrPort("address", plain)
	return Address{addrPort, protocol}, err
}

// ParseDestination reads 172.17.0.3:80 or [fd00::3]:80. The error is ErrNoHost
// when the IP address is empty (":80", "[]:80").
func ParseDestination(text string) (netip.AddrPort, error) {
	if port, found := strings.CutPrefix(strings.TrimPrefix(text, "[]"), ":"); found {
		// The port follows the same rules with and without a host.
		if _, err := parseAddrPort("destination", "192.0.2.1:"+port); err == nil {
			return netip.AddrPort{}, fmt.Errorf("destination %q: %w", text, ErrNoHost)
		}
	}
	return parseAddrPort("destination", text)
}

func parseAddrPort(what, text string) (netip.AddrPort, error) {
	addrPort, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s %q: must be IP:port, with an IPv6 address in brackets", what, text)
	}
	addr := addrPort.Addr().Unmap()
	switch {
	case addrPort.Port() == 0:
		err = fmt.Errorf("%s %q: port 0 cannot be served", what, text)
	case addr.Zone() != "":
		err = fmt.Errorf("%s %q: an address with a zone cannot be served", what, text)
	case addr.IsUnspecified(), addr.IsMulticast():
		err = fmt.Errorf("%s %q: must be the address of one host", what, text)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addr, addrPort.Port()), nil
}
