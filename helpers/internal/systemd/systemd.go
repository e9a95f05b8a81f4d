// Package systemd asks the system's service manager, over D-Bus, for what the
// helpers need: the runners of a service, jobs that stop them, reloads.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/hint"
	"service-manager/units/name"
)

// Conn is a connection to the system's service manager.
type Conn struct{ *dbus.Conn }

// Connect opens a connection. It prefers systemd's private socket, which root
// can reach without the message bus, early at boot and late at shutdown.
func Connect(ctx context.Context) (*Conn, error) {
	conn, err := connectPrivately(ctx)
	if err == nil {
		return &Conn{conn}, nil
	}
	conn, busErr := dbus.NewSystemConnectionContext(ctx)
	if busErr != nil {
		return nil, hint.Add(fmt.Errorf("connect to systemd: %w", errors.Join(err, busErr)), "run this as root on a host that systemd has booted")
	}
	return &Conn{conn}, nil
}

// SubState returns the state of the unit that the process with that id belongs
// to: start-post, say, while systemd runs its ExecStartPost= list.
func SubState(ctx context.Context, pid int) (string, error) {
	state, err := propertyOf(ctx, pid, "Unit", "SubState")
	if err != nil {
		return "", err
	}
	return stringOf(state), nil
}

// Remains reports whether the service that the process with that id belongs to
// outlasts its main process: RemainAfterExit=.
func Remains(ctx context.Context, pid int) (bool, error) {
	remains, err := propertyOf(ctx, pid, "Service", "RemainAfterExit")
	if err != nil {
		return false, err
	}
	yes, _ := remains.Value.Value().(bool)
	return yes, nil
}

// propertyOf returns a property of the unit that a process belongs to.
func propertyOf(ctx context.Context, pid int, unitType, name string) (*dbus.Property, error) {
	conn, err := Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	unit, err := conn.GetUnitNameByPID(ctx, uint32(pid))
	if err != nil {
		return nil, fmt.Errorf("ask systemd for the unit of process %d: %w", pid, err)
	}
	property, err := conn.GetUnitTypePropertyContext(ctx, unit, unitType, name)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s of %s: %w", name, unit, err)
	}
	return property, nil
}

// Runners returns the units of a service's runners that systemd has loaded, with
// their states.
func (c *Conn) Runners(ctx context.Context, service name.Service) ([]dbus.UnitStatus, error) {
	loaded, err := c.ListUnitsByPatternsContext(ctx, nil, []string{service.Units()})
	if err != nil {
		return nil, fmt.Errorf("list the runners of %s: %w", service, err)
	}
	runners := loaded[:0]
	for _, unit := range loaded {
		if isRunner(service, unit.Name) {
			runners = append(runners, unit)
		}
	}
	return runners, nil
}

// goes reports whether a unit is a runner of the service that is not to stay.
func goes(service name.Service, unit string, stays func(name.Rev) bool) bool {
	runner, err := name.ParseUnit(unit)
	return err == nil && runner.Service == service && (stays == nil || !stays(runner.Rev))
}

// isRunner reports whether a unit that is called SERVICE@….service is a runner of
// the service. It may also be its manager, or an instance of another template of
// that name: a service may be called postgresql, and must not stop
// postgresql@15-main.service.
func isRunner(service name.Service, unit string) bool { return goes(service, unit, nil) }

// Live reports whether a unit runs, starts, stops or waits for its next start.
func Live(unit dbus.UnitStatus) bool {
	return unit.ActiveState != "inactive" && unit.ActiveState != "failed"
}

// Busy reports whether a unit is live, or has a job, which may make it so.
func Busy(unit dbus.UnitStatus) bool { return unit.JobId != 0 || Live(unit) }

// lookAgain is how often a wait for a job checks whether systemd is
// still there to report it.
const lookAgain = 5 * time.Second

// StopRunners stops every runner of a service, except those that stays (unless it is nil)
// says are to stay, and returns when all have stopped. The stop jobs neither pull in nor
// wait for the stop of other units, so a command of the manager, which is ordered after
// its runners, may call this. progress is told which units are still stopping. The error
// may be ErrConnectionLost.
func (c *Conn) StopRunners(ctx context.Context, service name.Service, stays func(name.Rev) bool, progress func(stopping []string)) error {
	// What is about to start another one goes first.
	helping, err := c.ListUnitsByPatternsContext(ctx, nil, []string{name.Start(service.Units()), name.Settle(service.Units()), name.Scale(service.Units())})
	if err != nil {
		return fmt.Errorf("list what starts runners of %s: %w", service, err)
	}
	var live []string
	for _, unit := range helping {
		if goes(service, name.Subject(unit.Name), stays) && Live(unit) {
			live = append(live, unit.Name)
		}
	}
	if err := c.StopUnits(ctx, live, "ignore-dependencies", func([]string) {}); err != nil {
		return err
	}
	for {
		runners, err := c.Runners(ctx, service)
		if err != nil {
			return err
		}
		live = nil
		for _, runner := range runners {
			if goes(service, runner.Name, stays) && Busy(runner) {
				live = append(live, runner.Name)
				if err := c.awaitTraffic(ctx, runner); err != nil {
					return err
				}
			}
		}
		if len(live) == 0 {
			return nil
		}
		if err := c.StopUnits(ctx, live, "ignore-dependencies", progress); err != nil {
			return err
		}
	}
}

// StopUnits stops units, with jobs of that mode, and returns when all have stopped; units
// that systemd does not know have. progress is told which are still stopping. The error
// may be ErrConnectionLost.
func (c *Conn) StopUnits(ctx context.Context, names []string, mode string, progress func(stopping []string)) error {
	type outcome struct{ unit, result string }
	outcomes := make(chan outcome)
	var stopping []string
	var problems []error
	for _, name := range names {
		result := make(chan string, 1)
		if _, err := c.StopUnitContext(ctx, name, mode, result); err != nil {
			if !noSuchUnit(err) {
				problems = append(problems, fmt.Errorf("stop %s: %w", name, err))
			}
			continue
		}
		stopping = append(stopping, name)
		go func() {
			select {
			case r := <-result:
				outcomes <- outcome{name, r}
			case <-ctx.Done():
			}
		}()
	}
	alive := time.NewTicker(lookAgain)
	defer alive.Stop()
	for len(stopping) > 0 {
		progress(stopping)
		select {
		case <-alive.C:
			if !c.Connected() {
				problems = append(problems, fmt.Errorf("stop %s: %w", strings.Join(stopping, ", "), ErrConnectionLost))
				return errors.Join(problems...)
			}
		case <-ctx.Done():
			problems = append(problems, fmt.Errorf("stop %s: %w", strings.Join(stopping, ", "), context.Cause(ctx)))
			return errors.Join(problems...)
		case o := <-outcomes:
			if o.result != "done" {
				problems = append(problems, fmt.Errorf("stop %s: the job ended as %q", o.unit, o.result))
			}
			stopping = without(stopping, o.unit)
		}
	}
	return errors.Join(problems...)
}

func without(names []string, name string) []string {
	kept := names[:0]
	for _, n := range names {
		if n != name {
			kept = append(kept, n)
		}
	}
	return kept
}
