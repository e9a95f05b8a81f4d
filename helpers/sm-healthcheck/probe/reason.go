package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxReason is how many characters of a foreign text go into a message.
const maxReason = 100

// NoAnswer is the reason when there was no answer within that time.
type NoAnswer time.Duration

func (a NoAnswer) Error() string {
	return fmt.Sprintf("no answer within %s", time.Duration(a).Round(100*time.Millisecond))
}

// reason turns an error of a probe that took so long into a few words that an
// operator knows.
func reason(err error, took time.Duration) error {
	var status unhealthyStatus
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return status
	case errors.As(err, &number) && number != syscall.ETIMEDOUT:
		return number
	case errors.As(err, &timeout) && timeout.Timeout():
		return NoAnswer(took)
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
