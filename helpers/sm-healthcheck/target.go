package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// errNoHost says that a URL has an empty host, as when it is written with the
// address of a container that has none.
var errNoHost = errors.New("the container has no address yet")

const wantScheme = "want http://, https://, tcp:// or unix://"

// target is what to probe: a place to connect to, and for http what to ask for.
type target struct {
	network string // tcp or unix
	address string
	http    *url.URL // nil when a connection is all that is asked
}

// parseTarget reads the URL on the command line. The error is errNoHost when
// only the host is missing.
func parseTarget(text string) (target, error) {
	if !strings.Contains(text, "://") {
		return target{}, fmt.Errorf("URL %q: %s", text, wantScheme)
	}
	// An empty IPv6 address is as good as no host, but not for every url.Parse.
	u, err := url.Parse(strings.Replace(text, "://[]", "://", 1))
	if err != nil {
		return target{}, fmt.Errorf("URL %q: %w", text, innermost(err))
	}
	if _, secret := u.User.Password(); secret {
		text = u.Redacted() // it is only told from here on
	}
	port := u.Port()
	switch u.Scheme {
	case "http":
		port = orDefault(port, "80")
	case "https":
		port = orDefault(port, "443")
	case "tcp":
		if u.Path != "" || u.RawQuery != "" || u.User != nil {
			return target{}, fmt.Errorf("URL %q: want tcp://HOST:PORT and nothing more", text)
		}
	case "unix":
		if u.Host != "" || len(u.Path) < 2 {
			return target{}, fmt.Errorf("URL %q: want unix:///PATH", text)
		}
		return target{network: "unix", address: u.Path}, nil
	default:
		return target{}, fmt.Errorf("URL %q: %s", text, wantScheme)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return target{}, fmt.Errorf("URL %q: want a port from 1 to 65535", text)
	}
	if u.Hostname() == "" {
		return target{}, fmt.Errorf("URL %q: %w", text, errNoHost)
	}
	t := target{network: "tcp", address: net.JoinHostPort(u.Hostname(), port)}
	if _, _, err := net.SplitHostPort(t.address); err != nil {
		return target{}, fmt.Errorf("URL %q: %q is not a host", text, u.Hostname())
	}
	if u.Scheme != "tcp" {
		u.Fragment, u.RawFragment = "", ""
		t.http = u
	}
	return t, nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// String is how messages name the probe. It hides a password.
func (t target) String() string {
	if t.http != nil {
		return "GET " + t.http.Redacted()
	}
	return t.network + "://" + t.address
}

// innermost returns the error at the bottom of a chain.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
