package probe

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// get is a probe that is healthy when a GET is answered with a status of 200 to 399.
type get struct {
	url     *url.URL
	address string
	header  http.Header // Host overrides the URL's
	verify  bool
}

// maxAnswer is how much of an answer a probe reads.
const maxAnswer = 1 << 20

// newHTTP makes the probe of an http or https URL.
func newHTTP(u *url.URL, text string, o Options) (Probe, error) {
	port := "80"
	if u.Scheme == "https" {
		port = "443"
	}
	address, err := hostPort(u, text, port)
	u.Fragment, u.RawFragment = "", ""
	return get{u, address, o.Header, o.Verify}, err
}

func (g get) String() string                   { return "GET " + g.url.Redacted() }
func (g get) place() (network, address string) { return "tcp", g.address }
func (get) sendsHeaders()                      {}

// ask returns the code and text of the status line. One that is not healthy is an
// unhealthyStatus.
func (g get) ask(conn net.Conn) (string, error) {
	if g.url.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: g.url.Hostname(), InsecureSkipVerify: !g.verify})
	}
	request := &http.Request{Method: http.MethodGet, URL: g.url, Host: g.url.Host, Header: g.header.Clone()}
	if host := g.header.Get("Host"); host != "" {
		request.Host = host
	}
	if password, ok := g.url.User.Password(); ok || g.url.User != nil {
		request.SetBasicAuth(g.url.User.Username(), password)
	}
	if err := request.Write(conn); err != nil {
		return "", err
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	reader := bufio.NewReader(limited)
	for {
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			return "", err
		}
		if response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
			continue // the real answer follows
		}
		status := clean(response.Status)
		if response.StatusCode < 200 || response.StatusCode > 399 {
			return "", unhealthyStatus(status)
		}
		// A body that is cut off is a failure, one that is merely large is not.
		if _, err := io.Copy(io.Discard, response.Body); err != nil && limited.N > 0 {
			return "", err
		}
		return status, nil
	}
}

// unhealthyStatus is the status of an answer outside 200 to 399.
type unhealthyStatus string

func (s unhealthyStatus) Error() string { return string(s) }

// ParseHeaders reads lines of the form "Name: value".
func ParseHeaders(lines []string) (http.Header, error) {
	header := http.Header{"User-Agent": {"sm-healthcheck"}}
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) || strings.ContainsFunc(value, isControl) {
			return nil, fmt.Errorf("--header: must be \"Name: value\" (got %q)", line)
		}
		header.Set(name, strings.TrimSpace(value))
	}
	return header, nil
}

// isToken reports whether s may be the name of a header.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
