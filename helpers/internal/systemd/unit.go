package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
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

// Restarts returns how often systemd has restarted the unit by itself since it
// was last started.
func (c *Conn) Restarts(ctx context.Context, unit string) (int, error) {
	property, err := c.serviceProperty(ctx, unit, "NRestarts")
	if err != nil {
		return 0, err
	}
	n, _ := property.Value.Value().(uint32)
	return int(n), nil
}

// StatusText returns what the unit last said about itself, as systemctl status
// shows it.
func (c *Conn) StatusText(ctx context.Context, unit string) (string, error) {
	return c.serviceString(ctx, unit, "StatusText")
}

// Result returns how the unit's last run has ended: "success", "exit-code", "signal", say.
func (c *Conn) Result(ctx context.Context, unit string) (string, error) {
	return c.serviceString(ctx, unit, "Result")
}

func (c *Conn) serviceString(ctx context.Context, unit, name string) (string, error) {
	property, err := c.serviceProperty(ctx, unit, name)
	if err != nil {
		return "", err
	}
	return stringOf(property), nil
}

func (c *Conn) serviceProperty(ctx context.Context, unit, name string) (*dbus.Property, error) {
	property, err := c.GetServicePropertyContext(ctx, unit, name)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s of %s: %w", name, unit, err)
	}
	return property, nil
}

func stringOf(property *dbus.Property) string {
	s, _ := property.Value.Value().(string)
	return s
}

// Activity is when a unit last began to start, became active, ceased to be
// active, and became inactive, on the clock of Uptime; zero for what has not happened.
type Activity struct{ Began, Active, Ended, Inactive time.Duration }

// Uptime returns the time since boot, but for the time that the host was suspended. Unlike
// the time of day, which a host without a battery gets from the network, it makes no leaps.
func (*Conn) Uptime() time.Duration {
	var now unix.Timespec
	// It only fails for a clock that does not exist.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}

// Activity returns when the state of a unit last changed.
func (c *Conn) Activity(ctx context.Context, unit string) (a Activity, err error) {
	for name, to := range map[string]*time.Duration{
		"InactiveExitTimestampMonotonic": &a.Began, "ActiveEnterTimestampMonotonic": &a.Active,
		"ActiveExitTimestampMonotonic": &a.Ended, "InactiveEnterTimestampMonotonic": &a.Inactive,
	} {
		property, err := c.GetUnitPropertyContext(ctx, unit, name)
		if err != nil {
			return Activity{}, fmt.Errorf("ask systemd for %s of %s: %w", name, unit, err)
		}
		usec, _ := property.Value.Value().(uint64)
		*to = time.Duration(usec) * time.Microsecond
	}
	return a, nil
}

// Exit is how a command of a unit has ended.
type Exit struct {
	Command string // the name of its program, without the folder
	Status  int    // its exit status, or the signal that ended it as a negative number
	ended   uint64 // microseconds on the clock of Uptime
}

// Exits returns how the commands have ended that a unit has run in its current
// start, in the order in which they did. systemd forgets those from before a reload.
func (c *Conn) Exits(ctx context.Context, unit string) ([]Exit, error) {
	activity, err := c.Activity(ctx, unit)
	if err != nil {
		return nil, err
	}
	var exits []Exit
	for _, list := range []string{"ExecStartPre", "ExecStart", "ExecStartPost"} {
		property, err := c.serviceProperty(ctx, unit, list)
		if err != nil {
			return nil, err
		}
		exits = append(exits, exitsOf(property.Value.Value(), activity.Began)...)
	}
	slices.SortStableFunc(exits, func(a, b Exit) int { return cmp.Compare(a.ended, b.ended) })
	return exits, nil
}

// exitsOf reads the value of a property such as ExecStart, whose entries are path,
// arguments, whether a failure counts, when it started and ended, each as the time of day
// and on the clock of Uptime, process id, how it ended (CLD_EXITED and the like) and the
// status.
func exitsOf(value any, since time.Duration) (exits []Exit) {
	const exited = 1
	commands, _ := value.([][]any)
	for _, command := range commands {
		if len(command) != 10 {
			continue
		}
		program, _ := command[0].(string)
		ended, _ := command[6].(uint64)
		code, _ := command[8].(int32)
		status, _ := command[9].(int32)
		// When it started does not say: systemd forgets that at a reload.
		if ended == 0 || time.Duration(ended)*time.Microsecond < since {
			continue
		}
		exit := Exit{Command: path.Base(program), Status: int(status), ended: ended}
		if code != exited {
			exit.Status = -exit.Status
		}
		exits = append(exits, exit)
	}
	return exits
}

// Start queues a start of the unit, after whatever it is doing now, and reports whether
// it did. It overrules no other job: what is being stopped stays stopped.
func (c *Conn) Start(ctx context.Context, unit string) (bool, error) {
	_, err := c.StartUnitContext(ctx, unit, "fail", nil)
	if inTheWay(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("start %s: %w", unit, err)
	}
	return true, nil
}

// StartAgain queues a start of the unit, even after a stop that is under way.
func (c *Conn) StartAgain(ctx context.Context, unit string) error {
	if _, err := c.StartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	return nil
}

// StartAndWait starts the unit, and returns when it has started.
func (c *Conn) StartAndWait(ctx context.Context, unit string) error {
	result := make(chan string, 1)
	if _, err := c.StartUnitContext(ctx, unit, "replace", result); err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	return c.awaitJob(ctx, "start", unit, result)
}

// TryRestartAndWait restarts the unit if it runs and has no other job, and returns when it
// has started again.
func (c *Conn) TryRestartAndWait(ctx context.Context, unit string) error {
	result := make(chan string, 1)
	_, err := c.TryRestartUnitContext(ctx, unit, "fail", result)
	if inTheWay(err) || noSuchUnit(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	return c.awaitJob(ctx, "restart", unit, result)
}

// awaitJob returns when a job of a unit has ended.
func (c *Conn) awaitJob(ctx context.Context, what, unit string, result <-chan string) error {
	alive := time.NewTicker(lookAgain)
	defer alive.Stop()
	for {
		select {
		case r := <-result:
			if r != "done" {
				return hint.Add(fmt.Errorf("%s %s: the job ended as %q", what, unit, r), "run systemctl status %s", unit)
			}
			return nil
		case <-alive.C:
			if !c.Connected() {
				return fmt.Errorf("%s %s: %w", what, unit, ErrConnectionLost)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", what, unit, context.Cause(ctx))
		}
	}
}

// Restart queues a restart of the unit, unless another job is in the way.
func (c *Conn) Restart(ctx context.Context, unit string) error {
	if _, err := c.RestartUnitContext(ctx, unit, "fail", nil); err != nil && !inTheWay(err) {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	return nil
}

// Stop queues a stop of the unit.
func (c *Conn) Stop(ctx context.Context, unit string) error {
	if _, err := c.StopUnitContext(ctx, unit, "replace", nil); err != nil && !noSuchUnit(err) {
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	return nil
}

// ResetFailed clears the failed state of a unit, if it has it.
func (c *Conn) ResetFailed(ctx context.Context, unit string) error {
	if err := c.ResetFailedUnitContext(ctx, unit); err != nil && !noSuchUnit(err) {
		return fmt.Errorf("reset the failed state of %s: %w", unit, err)
	}
	return nil
}

// inTheWay reports whether err says that another job of the unit is queued, which the
// requested one would have replaced.
func inTheWay(err error) bool { return named(err, "org.freedesktop.systemd1.TransactionIsDestructive") }

// noSuchUnit reports whether systemd no longer knows the unit: it is gone, so
// there is nothing to do about it.
func noSuchUnit(err error) bool { return named(err, "org.freedesktop.systemd1.NoSuchUnit") }

func named(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == name
}
