package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/process"
	"service-manager/units/name"
)

// RetireRunners has every runner of a service stopped except the named one, and
// does not wait for it. It also clears the failed state of those that have
// failed, so that systemctl --failed lists what needs attention.
func (c *Conn) RetireRunners(ctx context.Context, except name.Revision) error {
	runners, err := c.Runners(ctx, except.Service)
	if err != nil {
		return err
	}
	var problems []error
	for _, runner := range runners {
		if runner.Name != except.Unit() {
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
		return c.ResetFailed(ctx, runner.Name)
	case runner.ActiveState != "activating":
		return c.Stop(ctx, runner.Name)
	case runner.SubState != startPost:
		if err := c.Stop(ctx, runner.Name); err != nil {
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
	_, err := c.Start(ctx, name.Retire(unit))
	return err
}

// startPost is the state in which systemd runs ExecStartPost= commands.
const startPost = "start-post"

// endHealthCheck has the start of a runner fail if it still waits for health. A
// runner that is past that may have connections, which a stop in its start would
// cut.
func (c *Conn) endHealthCheck(ctx context.Context, runner string) error {
	pid, err := c.controlProcess(ctx, runner)
	if err != nil || pid == 0 {
		return err // between two commands
	}
	control, err := process.Open(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer control.Close()
	// The name belongs to the process that the handle stands for, or to none that
	// the signal could reach.
	if command(pid) != "sm-healthcheck" {
		return nil
	}
	if err := control.Signal(unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the health check of %s: %w", runner, err)
	}
	return nil
}

// awaitTraffic waits for the end of a start that may have brought a runner
// connections already: only then does a stop drain it. Such a start is at its
// last commands.
func (c *Conn) awaitTraffic(ctx context.Context, runner dbus.UnitStatus) error {
	for runner.ActiveState == "activating" && runner.SubState == startPost {
		pid, err := c.controlProcess(ctx, runner.Name)
		if err != nil {
			return err
		}
		if program := command(pid); program != "sm-ipvs" && program != "sm-rollout" {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
		if runner, err = c.State(ctx, runner.Name); err != nil {
			return err
		}
	}
	return nil
}

// controlProcess returns the process id of the command that a unit runs beside its
// main process, 0 when there is none.
func (c *Conn) controlProcess(ctx context.Context, unit string) (int, error) {
	property, err := c.serviceProperty(ctx, unit, "ControlPID")
	if err != nil {
		return 0, err
	}
	pid, _ := property.Value.Value().(uint32)
	return int(pid), nil
}

// command returns the name of the program that a process runs.
func command(pid int) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSuffix(string(comm), "\n")
}
