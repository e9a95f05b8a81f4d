package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"

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
	}
	serves, err := c.mayServe(ctx, runner)
	if err != nil {
		return err
	}
	if !serves {
		if err := c.stop(ctx, runner.Name); err != nil {
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

// mayServe reports whether a runner that is starting is past its health check:
// it may have connections then, and only a stop in order drains them.
func (c *Conn) mayServe(ctx context.Context, runner dbus.UnitStatus) (bool, error) {
	if runner.SubState != "start-post" {
		return false, nil
	}
	// systemd forgets at a reload which of a unit's commands it runs, but not the
	// process.
	property, err := c.GetServicePropertyContext(ctx, runner.Name, "ControlPID")
	if err != nil {
		return false, fmt.Errorf("ask systemd what %s does: %w", runner.Name, err)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", property.Value.Value()))
	return err != nil || string(comm) != "sm-healthcheck\n", nil
}

func (c *Conn) stop(ctx context.Context, unit string) error {
	if _, err := c.StopUnitContext(ctx, unit, "replace", nil); err != nil && !noSuchUnit(err) {
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	return nil
}
