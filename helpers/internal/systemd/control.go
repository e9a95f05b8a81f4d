package systemd

import (
	"context"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/process"
)

// StartPost is the state in which systemd runs ExecStartPost= commands.
const StartPost = "start-post"

// awaitTraffic waits for the end of a start that may already have brought a runner
// connections: only after it does a stop drain them. Such a start is at its last
// commands.
func (c *Conn) awaitTraffic(ctx context.Context, runner dbus.UnitStatus) error {
	for runner.ActiveState == "activating" && runner.SubState == StartPost {
		pid, err := c.ControlPID(ctx, runner.Name)
		if err != nil {
			return err
		}
		if !mayHaveTraffic(process.Program(pid)) {
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

// mayHaveTraffic reports whether a runner may have connections while systemd runs that
// program after its start. Between two programs there is none, and before systemd runs one,
// the process has the name of systemd, or that of the program in parentheses.
func mayHaveTraffic(program string) bool {
	return program == "sm-ipvs" || program == "sm-rollout" || program == "" || strings.HasPrefix(program, "(") || strings.HasPrefix(program, "systemd")
}

// ControlPID returns the process id of the command that a unit runs beside its
// main process, 0 when there is none.
func (c *Conn) ControlPID(ctx context.Context, unit string) (int, error) {
	property, err := c.serviceProperty(ctx, unit, "ControlPID")
	if err != nil {
		return 0, err
	}
	pid, _ := property.Value.Value().(uint32)
	return int(pid), nil
}
