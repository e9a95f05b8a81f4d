package couchdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/store"
)

// transport returns an HTTP transport whose connections fail when they carry
// nothing towards us for as long as silence: a peer that has died says nothing,
// and TCP alone would wait for it for ever.
func transport(silence time.Duration) http.RoundTripper {
	dialer := net.Dialer{Timeout: silence}
	return getter{&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSHandshakeTimeout: silence,
		IdleConnTimeout:     silence,
		MaxIdleConns:        1,
		// A server that compresses a feed may hold back what does not fill a block.
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &deadlineConn{conn, silence}, nil
		},
	}}
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

// getter asks for changes with GET. The driver uses POST, which proxies that
// give access for reading refuse, and which is not repeated when an idle
// connection turns out to be closed.
type getter struct{ http.RoundTripper }

func (g getter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPost && request.Body == nil {
		request = request.Clone(request.Context())
		request.Method = http.MethodGet
		request.Header.Del("Content-Type")
	}
	return g.RoundTripper.RoundTrip(request)
}

// explain cuts an error of the driver down to its reason.
func explain(err error) error {
	switch kivik.HTTPStatus(err) {
	case http.StatusNotFound:
		return store.ErrMissing
	case http.StatusUnauthorized, http.StatusForbidden:
		return errors.New("the server refuses this name and password; check COUCHDB_URL")
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var network *net.OpError
	if errors.As(err, &network) {
		err = network.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}
