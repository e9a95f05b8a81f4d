package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// A lossError says how a request was lost.
type lossError struct {
	kind  Kind
	err   error
	local string // the client's address, when there was a connection
}

func (e *lossError) Error() string { return e.err.Error() }
func (e *lossError) Unwrap() error { return e.err }

// connection is one TCP connection, or a socket for datagrams, and knows what came back on it: net/http
// reads a header that was cut short as a malformed one.
type connection struct {
	net.Conn
	in        *bufio.Reader
	post      bool  // send POST, and not GET
	halfClose bool  // say that nothing comes after the request
	received  int   // bytes since the request was sent
	failed    error // of the last read
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received += n
	c.failed = err
	return n, err
}

// dial opens a connection. The context does not end it: a request that began is
// waited for.
func dial(u *url.URL, timeout time.Duration) (*connection, *lossError) {
	dialer := net.Dialer{Timeout: timeout, KeepAlive: -1}
	network := "tcp"
	if u.Scheme == "udp" {
		network = "udp"
	}
	conn, err := dialer.DialContext(context.Background(), network, u.Host)
	if err != nil {
		return nil, &lossError{kind: connectKind(err), err: err}
	}
	c := &connection{Conn: conn}
	c.in = bufio.NewReader(c)
	return c, nil
}

func connectKind(err error) Kind {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return NoRoute
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT), isTimeout(err):
		return ConnectTimeout
	case errors.Is(err, syscall.ECONNRESET):
		return ResetBeforeReply
	}
	return Client
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// reply is what matters of an answer.
type reply struct {
	revision string
	closing  bool // the server closes the connection
}

// get sends one request and reads its answer to the end.
func (c *connection) get(u *url.URL, timeout time.Duration) (reply, *lossError) {
	lost := func(kind Kind, err error) (reply, *lossError) {
		return reply{}, &lossError{kind: kind, err: err, local: c.LocalAddr().String()}
	}
	c.received = 0
	c.SetDeadline(time.Now().Add(timeout))
	request := fmt.Sprintf("%%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n%%s\r\n", u.RequestURI(), u.Host)
	if c.post {
		request = fmt.Sprintf(request, http.MethodPost, fmt.Sprintf("X-Request-Id: %d\r\nContent-Length: 7\r\n", rand.Uint64())) + "a=order"
	} else {
		request = fmt.Sprintf(request, http.MethodGet, "")
	}
	if _, err := io.WriteString(c, request); err != nil {
		return lost(c.answerKind(err), err)
	}
	if c.halfClose {
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			return lost(c.answerKind(err), err)
		}
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return lost(c.answerKind(err), err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return lost(c.answerKind(err), err)
	}
	if response.StatusCode != http.StatusOK {
		return lost(BadStatus, errors.New(response.Status))
	}
	revision := response.Header.Get("X-Revision")
	if revision == "" {
		revision = "none"
	}
	return reply{revision, response.Close}, nil
}

// answerKind classifies what ended an answer.
func (c *connection) answerKind(err error) Kind {
	before := c.received == 0
	if c.failed != nil {
		err = c.failed
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return AnswerTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		if before {
			return ResetBeforeReply
		}
		return ResetInReply
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if before {
			return EOFBeforeReply
		}
		return EOFInReply
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return NoRoute
	case errors.Is(err, syscall.ECONNREFUSED): // the answer to a datagram
		return Refused
	}
	return Malformed
}
