package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-kivik/kivik/v4"

	"service-manager/units/definition"
)

// kivik trusts its server: it reads an error or a description to its end, however long
// that takes, keeps a whole change in memory, whatever its size, lets net/http follow
// redirects with the password, reads the feed in a goroutine that races with the end of
// the context, and panics when a feed ends without a last line. What guards it is in this
// file: the context that it gets (detach), its HTTP transport (guard, which passes lists
// of changes through rows), and its panic (next).

// limits bound what an answer may cost this host.
type limits struct {
	Answer   int64         // bytes of a description or an error
	Header   int64         // bytes of the header of an answer
	Document int           // bytes of a document; a larger one is not kept
	Row      int           // bytes of a change beside its document
	Skip     int           // bytes of a document that is too large, until the answer is given up
	Depth    int           // how deep a document may be nested
	Rows     int           // changes in an answer that is no feed
	Silence  time.Duration // how long a server may say nothing
	Whole    time.Duration // how long any answer but a list of changes may take
	// In each Window of a wait for a list of changes, Progress bytes have to come.
	Window   time.Duration
	Progress int
}

func limitsFor(heartbeat time.Duration) limits {
	return limits{
		Answer:   64 << 10,
		Header:   64 << 10,
		Document: definition.MaxSize + 64<<10, // CouchDB adds members of its own
		Row:      64 << 10,
		Skip:     16 << 20,
		Depth:    1000,
		Rows:     200_000,
		Silence:  3 * heartbeat,
		Whole:    3 * heartbeat,
		Window:   3 * heartbeat,
		Progress: 4 << 10,
	}
}

// callKey is the key of the context that a request really has. kivik gets one that does
// not end: it would close the feed while another goroutine reads it.
type callKey struct{}

// detach returns the context for kivik.
func detach(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), callKey{}, ctx)
}

// next contains a panic of the driver, which happens when a continuous feed ends without
// a last line.
func next(feed *kivik.Changes) (more bool, err error) {
	defer func() {
		if recover() != nil {
			more, err = false, errEnded
		}
	}()
	if feed.Next() {
		return true, nil
	}
	return false, feed.Err()
}

// guard is the HTTP transport.
type guard struct {
	limits limits
	next   http.RoundTripper
}

// newGuard returns a transport whose connections fail when they carry nothing
// towards us for a while: a peer that has died says nothing, and TCP alone would
// wait for it for ever.
func newGuard(l limits) *guard {
	dialer := net.Dialer{Timeout: l.Silence}
	return &guard{l, &http.Transport{
		Proxy:                  proxy,
		TLSHandshakeTimeout:    l.Silence,
		IdleConnTimeout:        l.Silence,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: l.Header,
		// A server that compresses a feed may hold back what does not fill a block,
		// and a small answer may become a large one.
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &deadlineConn{conn, l.Silence}, nil
		},
	}}
}

// client returns a client that follows no redirect.
func (g *guard) client() *http.Client {
	return &http.Client{
		Transport:     g,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxy keeps the credentials of a proxy out of errors about its URL.
func proxy(request *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(request)
	if err != nil {
		return nil, errors.New("the URL in http_proxy or https_proxy cannot be understood; percent-encode special characters in its user name and password")
	}
	return u, nil
}

// RoundTrip asks for changes with GET. The driver uses POST, which proxies with read-only
// access refuse, and which is not repeated when an idle connection turns out to be
// closed.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	outer, ok := request.Context().Value(callKey{}).(context.Context)
	if !ok {
		outer = request.Context()
	}
	ctx, cancel := context.WithCancelCause(outer)
	slow := time.AfterFunc(g.limits.Whole, func() { cancel(fmt.Errorf("the server has not answered within %v", g.limits.Whole)) })
	why := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	request = request.Clone(ctx)
	if request.Method == http.MethodPost && request.Body == nil {
		request.Method = http.MethodGet
		request.Header.Del("Content-Type")
	}
	response, err := g.next.RoundTrip(request)
	if err != nil {
		err = why(err)
		slow.Stop()
		cancel(nil)
		return nil, err
	}
	changes := strings.HasSuffix(request.URL.Path, "/_changes")
	err = g.check(response)
	if err == nil && !changes {
		err = g.whole(response)
	}
	if err != nil || !changes {
		err = why(err)
		slow.Stop()
		_ = response.Body.Close()
		cancel(nil)
		if err != nil {
			return nil, err
		}
		return response, nil
	}
	if !slow.Stop() {
		_ = response.Body.Close()
		return nil, why(nil)
	}
	response.Body = newRows(response.Body, request.URL.Query().Get("feed") == "continuous", g.limits, why, func() { cancel(nil) })
	return response, nil
}

// check returns an error unless the answer is what was asked for.
func (g *guard) check(response *http.Response) error {
	switch status := response.StatusCode; {
	case status >= 400:
		return g.problem(response)
	case status >= 300 && response.Header.Get("Location") != "":
		return fmt.Errorf("the server redirects to %s; no redirect is followed; if that is the database, name it in COUCHDB_URL",
			location(response.Header.Get("Location")))
	case status != http.StatusOK:
		return fmt.Errorf("the server answers with the status %d", status)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errors.New("the server compresses its answer, which it was not asked to do")
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "multipart/") {
		return errors.New("the server answers in several parts, which it was not asked to do")
	}
	return nil
}

// location returns where a redirect leads, without what may be secret.
func location(header string) string {
	u, err := url.Parse(header)
	if err != nil || len(header) > 2000 {
		return "a URL that cannot be understood"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// problem returns the error that an answer reports. Its text is used only when it is
// short.
func (g *guard) problem(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	var answer struct{ Reason string }
	if err != nil || json.Unmarshal(body, &answer) != nil {
		answer.Reason = ""
	}
	return &statusError{response.StatusCode, answer.Reason}
}

// whole reads an answer that is one JSON value.
func (g *guard) whole(response *http.Response) error {
	limit := g.limits.Answer + int64(g.limits.Document)
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > limit {
		return &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("its answer is larger than %d KiB", limit>>10)}
	}
	_ = response.Body.Close()
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}

type deadlineConn struct {
	net.Conn
	silence time.Duration
}

func (c *deadlineConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the server has said nothing for %v", c.silence)
	}
	return n, err
}

func (c *deadlineConn) Write(p []byte) (int, error) {
	// The answer gets its full time, however long the connection was idle.
	if err := c.SetDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the server has taken nothing for %v", c.silence)
	}
	return n, err
}
