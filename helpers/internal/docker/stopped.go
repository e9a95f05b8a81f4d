package docker

import (
	"context"
	"errors"

	"service-manager/helpers/internal/systemd"
)

// localUnit is the unit of the daemon behind the default socket.
const localUnit = "docker.service"

// ErrStopped is a daemon that was stopped by hand.
var ErrStopped = errors.New(localUnit + " has been stopped")

// local reports whether the daemon is the one of localUnit.
func (d *Daemon) local() bool {
	host := d.DaemonHost()
	return host == "unix:///var/run/docker.sock" || host == "unix:///run/docker.sock"
}

// unlessAsleep returns f for a daemon that was not stopped by hand; for another it does
// not come to f.
func (d *Daemon) unlessAsleep(ctx context.Context, f func() error) func() error {
	return func() error {
		if err := d.asleep(ctx); err != nil {
			return err
		}
		return f()
	}
}

// asleep returns ErrStopped when to connect would start a daemon that was
// stopped by hand: its socket is usually held by systemd, which starts it for anyone
// who connects. A unit that is restarted for ever must not undo an operator's
// "systemctl stop docker".
func (d *Daemon) asleep(ctx context.Context) error {
	if !d.local() {
		return nil
	}
	conn, err := systemd.Connect(ctx)
	if err != nil {
		// Not run by systemd, so not started by it either.
		return nil
	}
	defer conn.Close()
	if stopped, err := conn.Stopped(ctx, localUnit); err != nil || !stopped {
		return nil
	}
	return ErrStopped
}
