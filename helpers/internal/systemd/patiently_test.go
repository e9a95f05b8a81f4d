package systemd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

func TestPatiently(t *testing.T) {
	gone := []error{
		godbus.Error{Name: "org.freedesktop.DBus.Error.NoReply", Body: []any{"Message recipient disconnected from message bus without replying"}},
		fmt.Errorf("connect to systemd: %w", errors.Join(unix.ECONNREFUSED, unix.ENOENT)),
		fmt.Errorf("stop web: %w", ErrConnectionLost),
		godbus.ErrClosed,
	}
	other := godbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit"}
	calls := 0
	err := Patiently(context.Background(), func() error {
		calls++
		if calls <= len(gone) {
			return gone[calls-1]
		}
		return other
	})
	if !errors.As(err, new(godbus.Error)) || calls != len(gone)+1 {
		t.Errorf("got %v after %d calls; want %v after %d", err, calls, other, len(gone)+1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Patiently(ctx, func() error { return ErrConnectionLost }); err != ErrConnectionLost {
		t.Errorf("of what has been given up: got %v", err)
	}
	// A systemd that is not there at all is not waited for.
	none := fmt.Errorf("connect to systemd: %w", errors.Join(unix.ENOENT, unix.ENOENT))
	if err := Patiently(context.Background(), func() error { return none }); err != none {
		t.Errorf("without systemd: got %v", err)
	}
}
