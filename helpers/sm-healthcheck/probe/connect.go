package probe

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// connect is a probe that is healthy when a connection is accepted.
type connect struct{ network, address string }

// newTCP makes the probe of tcp://HOST:PORT.
func newTCP(u *url.URL, text string, _ Options) (Probe, error) {
	if u.Path != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("URL %q: must be tcp://HOST:PORT and nothing more", text)
	}
	address, err := hostPort(u, text, "")
	return connect{"tcp", address}, err
}

// newUnix makes the probe of unix:///PATH.
func newUnix(u *url.URL, text string, _ Options) (Probe, error) {
	if u.Host != "" || len(u.Path) < 2 {
		return nil, fmt.Errorf("URL %q: must be unix:///PATH", text)
	}
	return connect{"unix", u.Path}, nil
}

func (c connect) String() string                   { return c.network + "://" + c.address }
func (c connect) place() (network, address string) { return c.network, c.address }
func (c connect) ask(net.Conn) (string, error)     { return "connected", nil }

// hostPort returns the host and port of a URL, with that port where it has none.
func hostPort(u *url.URL, text, port string) (string, error) {
	if u.Port() != "" {
		port = u.Port()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("URL %q: must have a port from 1 to 65535", text)
	}
	if u.Hostname() == "" {
		return "", fmt.Errorf("URL %q: %w", text, ErrNoHost)
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "", fmt.Errorf("URL %q: %q is not a host", text, u.Hostname())
	}
	return address, nil
}
