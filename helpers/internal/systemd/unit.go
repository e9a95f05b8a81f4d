package systemd

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Close ends the connection.
func (c *Conn) Close() error {
	c.Conn.Close()
	return nil
}

// RestartsByItself reports whether systemd restarts the unit when it fails.
func (c *Conn) RestartsByItself(ctx context.Context, unit string) (bool, error) {
	restart, err := c.serviceString(ctx, unit, "Restart")
	return restart != "no", err
}

// StatusText returns what the unit last said about itself, as systemctl status
// shows it.
func (c *Conn) StatusText(ctx context.Context, unit string) (string, error) {
	return c.serviceString(ctx, unit, "StatusText")
}

func (c *Conn) serviceString(ctx context.Context, unit, name string) (string, error) {
	property, err := c.GetServicePropertyContext(ctx, unit, name)
	if err != nil {
		return "", fmt.Errorf("ask systemd for %s of %s: %w", name, unit, err)
	}
	return stringOf(property), nil
}

func stringOf(property *dbus.Property) string {
	s, _ := property.Value.Value().(string)
	return s
}

// Restarting reports whether the unit stops only to start again, at somebody's
// request.
func (c *Conn) Restarting(ctx context.Context, unit string) (bool, error) {
	jobs, err := c.ListJobsContext(ctx)
	if err != nil {
		return false, fmt.Errorf("ask systemd for its jobs: %w", err)
	}
	for _, job := range jobs {
		if job.Unit == unit && (job.JobType == "restart" || job.JobType == "try-restart") {
			return true, nil
		}
	}
	return false, nil
}

// StartWithoutWaiting queues a start of the unit, behind whatever it does now.
func (c *Conn) StartWithoutWaiting(ctx context.Context, unit string) error {
	if _, err := c.StartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	return nil
}
