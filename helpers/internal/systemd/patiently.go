package systemd

import (
	"context"
	"errors"
	"io"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
)

// ErrConnectionLost says that systemd has dropped its clients, as it does when it
// re-executes itself; the results of jobs are lost then.
var ErrConnectionLost = errors.New("the connection to systemd was lost")

// lost reports whether err says that systemd has dropped its clients, or that it
// does not listen at the moment.
func lost(err error) bool {
	var reply godbus.Error
	if errors.As(err, &reply) {
		return reply.Name == "org.freedesktop.DBus.Error.NoReply" || reply.Name == "org.freedesktop.DBus.Error.Disconnected"
	}
	for _, e := range []error{ErrConnectionLost, godbus.ErrClosed, io.EOF, unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// absence is how long systemd may be away; re-executing itself takes it a second.
const absence = 30 * time.Second

// Patiently calls f, which connects to systemd and must be safe to repeat, again while
// systemd drops its clients, until it has stayed away for too long.
func Patiently(ctx context.Context, f func() error) error {
	var since time.Time
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		began := time.Now()
		err := f()
		if !lost(err) {
			return err
		}
		if since.IsZero() || time.Since(began) > absence {
			since = time.Now()
		}
		if time.Since(since) > absence {
			return &command.HostError{Err: err}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
