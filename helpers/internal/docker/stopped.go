package docker

import (
	"context"
	"errors"

	"service-manager/helpers/internal/systemd"
)

// localUnit is the unit of the daemon behind the default socket.
const localUnit = "docker.service"

// errStopped is a daemon that somebody has stopped.
var errStopped = errors.New(localUnit + " has been stopped")

// asleep returns errStopped when to connect would start a daemon that somebody
// has stopped: its socket is usually held by systemd, which starts it for anybody
// who connects. A unit that is restarted for ever must not undo an operator's
// "systemctl stop docker".
func (d *Daemon) asleep(ctx context.Context) error {
	switch d.DaemonHost() {
	case "unix:///var/run/docker.sock", "unix:///run/docker.sock":
	default:
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
	return errStopped
}
