// Package probe asks a service whether it is healthy: once, on a connection of its own.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"service-manager/helpers/internal/scheme"
)

// A Probe is a question to a service, of the kind that the scheme of its URL names.
// Each kind is in a file of its own.
type Probe interface {
	// String is how messages name the probe. It hides a password.
	String() string
	// place is where to connect to; nowhere when both are empty.
	place() (network, address string)
	// ask asks on a connection to that place. It returns what was seen, to show to a
	// person, and an error when that is not healthy.
	ask(conn net.Conn) (seen string, err error)
}

// Methods that a probe may have in addition.
type (
	headed  interface{ sendsHeaders() } // for one that sends the headers of Options
	process interface{ needsProcess() } // for one that is about the unit's main process alone
)

// TakesHeaders reports whether a probe sends headers.
func TakesHeaders(p Probe) bool {
	_, sends := p.(headed)
	return sends
}

// NeedsProcess reports whether a probe is about the unit's main process alone.
func NeedsProcess(p Probe) bool {
	_, needs := p.(process)
	return needs
}

// Options are what there is to say besides the URL.
type Options struct {
	Header http.Header // for probes that send headers
	Verify bool        // whether a TLS certificate must be valid
}

// kinds are the kinds of probes by scheme. Each is made of its URL, whose text is for
// messages.
var kinds = map[string]func(u *url.URL, text string, o Options) (Probe, error){
	"http":  newHTTP,
	"https": newHTTP,
	"tcp":   newTCP,
	"unix":  newUnix,
}

// wantScheme says how a URL begins.
func wantScheme() string { return "must begin with " + scheme.List(kinds) + ", or be " + aliveURL }

// ErrNoHost says that a URL has an empty host, as when it is made from the address of a
// container that has none.
var ErrNoHost = errors.New("the container has no address yet")

// Parse reads a URL. The error is ErrNoHost when only the
// host is missing.
func Parse(text string, o Options) (Probe, error) {
	if text == aliveURL {
		return alive{}, nil
	}
	if !strings.Contains(text, "://") {
		return nil, fmt.Errorf("URL %q: %s", text, wantScheme())
	}
	// An empty IPv6 address is as good as no host, but not for every url.Parse.
	u, err := url.Parse(strings.Replace(text, "://[]", "://", 1))
	if err != nil {
		return nil, fmt.Errorf("URL %q: %w", text, innermost(err))
	}
	if _, secret := u.User.Password(); secret {
		text = u.Redacted() // it is only shown from here on
	}
	kind, ok := kinds[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("URL %q: %s", text, wantScheme())
	}
	return kind(u, text, o)
}

// Once makes one probe, on a connection of its own. Its error reads as a reason.
func Once(ctx context.Context, p Probe, timeout time.Duration) (seen string, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() { err = reason(err, time.Since(begin)) }()
	network, address := p.place()
	if network == "" {
		return p.ask(nil)
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Closing resets the connection. An orderly end, from whichever side, makes
		// one of the two hold its ports for a minute, and a connection through the
		// load balancer that meets the same ports meanwhile is lost.
		if err := tcp.SetLinger(0); err != nil {
			return "", err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return p.ask(conn)
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
