package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/process"
	"service-manager/units"
)

// RetireRunners has every runner of a service stopped except the named one, and
// does not wait for it. It also clears the failed state of those that have
// failed, so that systemctl --failed lists what needs attention.
func (c *Conn) RetireRunners(ctx context.Context, service, except string) error {
	runners, err := c.Runners(ctx, service)
	if err != nil {
		return err
	}
	var problems []error
	for _, runner := range runners {
		if runner.Name != except {
			problems = append(problems, c.retire(ctx, runner))
		}
	}
	return errors.Join(problems...)
}

func (c *Conn) retire(ctx context.Context, runner dbus.UnitStatus) error {
	switch {
	case runner.JobId == 0 && runner.ActiveState == "inactive":
		return nil
	case runner.JobId == 0 && runner.ActiveState == "failed":
		if err := c.ResetFailedUnitContext(ctx, runner.Name); err != nil && !noSuchUnit(err) {
			return fmt.Errorf("reset the failed state of %s: %w", runner.Name, err)
		}
		return nil
	case runner.ActiveState != "activating":
		return c.stop(ctx, runner.Name)
	case runner.SubState != "start-post":
		if err := c.stop(ctx, runner.Name); err != nil {
			return err
		}
	default:
		if err := c.endHealthCheck(ctx, runner.Name); err != nil {
			return err
		}
	}
	return c.RetireOnceStarted(ctx, runner.Name)
}

// RetireOnceStarted has a runner that starts now stopped in order as soon as it
// has started. If its start fails, its failed state is cleared.
func (c *Conn) RetireOnceStarted(ctx context.Context, unit string) error {
	return c.StartWithoutWaiting(ctx, units.RetireUnit(unit))
}

// endHealthCheck has the start of a runner fail if it still waits for health. A
// runner that is past that may have connections, which a stop in its start would
// cut.
func (c *Conn) endHealthCheck(ctx context.Context, runner string) error {
	property, err := c.GetServicePropertyContext(ctx, runner, "ControlPID")
	if err != nil {
		return fmt.Errorf("ask systemd what %s does: %w", runner, err)
	}
	pid, _ := property.Value.Value().(uint32)
	if pid == 0 {
		return nil // between two commands
	}
	control, err := process.Open(int(pid))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer control.Close()
	// The name belongs to the process that the handle stands for, or to none that
	// the signal could reach.
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || string(comm) != "sm-healthcheck\n" {
		return nil
	}
	if err := control.Signal(unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the health check of %s: %w", runner, err)
	}
	return nil
}

func (c *Conn) stop(ctx context.Context, unit string) error {
	if _, err := c.StopUnitContext(ctx, unit, "replace", nil); err != nil && !noSuchUnit(err) {
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	return nil
}
