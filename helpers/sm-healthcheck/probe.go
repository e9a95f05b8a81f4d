package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxAnswer is how much of an answer a probe reads.
const maxAnswer = 1 << 20

// maxReason is how many characters of a foreign text go into a message.
const maxReason = 100

// prober makes single probes of one target.
type prober struct {
	target  target
	header  http.Header // for http targets; Host overrides the URL's
	verify  bool        // whether a TLS certificate must be valid
	timeout time.Duration
}

// probe makes one probe on a connection of its own. It returns what was seen, to
// show to a person, and an error that reads as a reason when that is not healthy.
func (p prober) probe(ctx context.Context) (seen string, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	defer func() { err = reason(err, time.Since(begin)) }()
	conn, err := new(net.Dialer).DialContext(ctx, p.target.network, p.target.address)
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
	if p.target.http == nil {
		return "connected", nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return p.get(conn)
}

// get asks for the target on a connection and returns the status line's code
// and text. A status that is not healthy is an unhealthyStatus.
func (p prober) get(conn net.Conn) (string, error) {
	u := p.target.http
	if u.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: !p.verify})
	}
	request := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: p.header.Clone()}
	if host := p.header.Get("Host"); host != "" {
		request.Host = host
	}
	if password, ok := u.User.Password(); ok || u.User != nil {
		request.SetBasicAuth(u.User.Username(), password)
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

// reason turns an error of a probe that took so long into a few words that an
// operator knows.
func reason(err error, took time.Duration) error {
	var status unhealthyStatus
	var timeout interface{ Timeout() bool }
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return status
	case errors.As(err, &number) && number != syscall.ETIMEDOUT:
		return number
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s", took.Round(100*time.Millisecond))
	case errors.As(err, &dns):
		return fmt.Errorf("%s: %s", dns.Name, dns.Err)
	case errors.As(err, &certificate):
		return certificate.Err
	case errors.As(err, &record):
		return errors.New("the answer is not TLS")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed before the answer was complete")
	}
	return errors.New(clean(err.Error()))
}

// clean makes what a stranger sent fit for one line of a log.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if runes := []rune(text); len(runes) > maxReason {
		text = string(runes[:maxReason]) + "..."
	}
	return strings.TrimSpace(text)
}
