// Package hint adds the way out to an error: the command or the edit that mends what
// failed. Programs print it on a line of its own.
package hint

import (
	"errors"
	"fmt"
	"strings"
)

// Error is an error with a way out.
type Error struct {
	Err error
	Way string // like "run systemctl start docker.service"
}

// Add returns an error with a way out; nil stays nil.
func Add(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{err, fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Err.Error() + "; " + e.Way }
func (e *Error) Unwrap() error { return e.Err }

// Split returns what an error says and the way out that is in it, empty when there
// is none.
func Split(err error) (message, way string) {
	message = err.Error()
	var hinted *Error
	if errors.As(err, &hinted) {
		way = hinted.Way
		message = strings.ReplaceAll(message, "; "+way, "")
	}
	return message, way
}
