package couchdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/sm-fetch/source"
)

// statusError is an answer that reports an error.
type statusError struct {
	status int
	reason string // as the server gives it
}

func (e *statusError) Error() string {
	text := strings.ToLower(http.StatusText(e.status))
	if text == "" {
		text = "unknown"
	}
	if e.reason != "" {
		return fmt.Sprintf("the server answers %d, %s: %s", e.status, text, e.reason)
	}
	return fmt.Sprintf("the server answers %d, %s", e.status, text)
}

// HTTPStatus is what kivik.HTTPStatus returns.
func (e *statusError) HTTPStatus() int { return e.status }

// explain cuts an error of the driver down to its reason, and the credentials out
// of it: a server may send them back.
func (s *Store) explain(err error) error {
	err = reason(err)
	if err == nil || errors.Is(err, source.ErrMissing) || errors.Is(err, context.Canceled) {
		return err
	}
	var status *statusError
	if errors.As(err, &status) {
		return &statusError{status.status, s.clean(status.reason)}
	}
	text := err.Error()
	if clean := s.clean(text); clean != text {
		return errors.New(clean)
	}
	return err
}

// clean returns a foreign text as one short line without credentials. They are replaced
// before it is cut: half a password is not recognized.
func (s *Store) clean(text string) string {
	for _, secret := range s.secrets {
		if len(secret) > 2 { // shorter ones are in every text
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return printable(text)
}

// errMissing says that the server does not have the database.
var errMissing = fmt.Errorf("the database %w", source.ErrMissing)

func reason(err error) error {
	switch kivik.HTTPStatus(err) {
	case http.StatusNotFound:
		return errMissing
	case http.StatusUnauthorized, http.StatusForbidden:
		return hint.Add(errors.New("the server refuses this name and password"), "check COUCHDB_URL")
	}
	var status *statusError
	if errors.As(err, &status) {
		return status
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		return fmt.Errorf("the server does not answer as a CouchDB does: %w", syntax)
	}
	if errors.As(err, &kind) {
		return fmt.Errorf("the server does not answer as a CouchDB does: it sends a JSON %s where none is expected", kind.Value)
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

// printable returns a foreign text as one short line.
func printable(text string) string {
	const most = 300
	var b strings.Builder
	for n, r := range []rune(text[:min(len(text), 4*most)]) {
		if n == most {
			return b.String() + "…"
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
