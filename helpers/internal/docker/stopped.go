package docker

import (
	"context"
	"errors"

	"service-manager/helpers/internal/systemd"
)

// Unit is the unit of the daemon behind the default socket.
const Unit = "docker.service"

// ErrStopped says that the daemon was stopped by hand.
var ErrStopped = errors.New(Unit + " has been stopped")

// local reports whether the daemon is the one of Unit.
func (d *Daemon) local() bool {
	host := d.DaemonHost()
	return host == "unix:///var/run/docker.sock" || host == "unix:///run/docker.sock"
}

// unlessAsleep returns f, preceded by a check that the daemon was not stopped by hand: if
// it was, f is not called.
func (d *Daemon) unlessAsleep(ctx context.Context, f func() error) func() error {
	return func() error {
		if err := d.asleep(ctx); err != nil {
			return err
		}
		return f()
	}
}

// asleep returns ErrStopped when connecting would start a daemon that was stopped by
// hand: systemd usually holds its socket, and starts it for anyone who connects. A unit
// that is restarted for ever must not undo an operator's "systemctl stop docker".
func (d *Daemon) asleep(ctx context.Context) error {
	if !d.local() {
		return nil
	}
	conn, err := systemd.Connect(ctx)
	if err != nil {
		// systemd does not run it, so systemd would not start it.
		return nil
	}
	defer conn.Close()
	if stopped, err := conn.Stopped(ctx, Unit); err != nil || !stopped {
		return nil
	}
	return ErrStopped
}
