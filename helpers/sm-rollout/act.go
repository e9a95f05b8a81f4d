package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/process"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// What follows does what was decided.

// retireOthers stops every runner of other revisions of a service, without waiting.
func retireOthers(ctx context.Context, conn systemdConn, good name.Revision) error {
	return retireThose(ctx, conn, good.Service, func(other name.Runner) bool { return other.Revision != good })
}

// retireBeside stops every other runner of a service whose revision is not good, without
// waiting: those of the same revision, and of one that this has replaced before all of
// its replicas served. Those of a newer one stay.
func (r rollout) retireBeside(ctx context.Context, conn systemdConn, runner name.Runner) error {
	good, err := r.store.Good(runner.Service)
	if err != nil {
		return err
	}
	current, err := r.store.Current(runner.Service)
	if err != nil {
		return err
	}
	return retireThose(ctx, conn, runner.Service, func(other name.Runner) bool {
		newer := other.Rev == current && runner.Rev != current
		return other != runner && other.Rev != good && !newer
	})
}

// abandon stops the other runners of a revision that is not good after one of them was
// stopped by hand, without waiting.
func abandon(ctx context.Context, conn systemdConn, s scene, runner name.Runner) error {
	var problems []error
	for _, other := range s.Of(runner.Rev) {
		if other.Runner != runner && other.Live() && other.Unit.JobType != "stop" {
			problems = append(problems, retire(ctx, conn, other.Unit))
		}
	}
	return errors.Join(problems...)
}

func retireThose(ctx context.Context, conn systemdConn, service name.Service, those func(name.Runner) bool) error {
	units, err := conn.Runners(ctx, service)
	if err != nil {
		return err
	}
	var problems []error
	for _, unit := range units {
		runner, err := name.ParseUnit(unit.Name)
		if err == nil && those(runner) {
			problems = append(problems, retire(ctx, conn, unit))
		}
	}
	return errors.Join(problems...)
}

// retire does what planRetire decides about a runner.
func retire(ctx context.Context, conn systemdConn, runner dbus.UnitStatus) error {
	switch planRetire(runner) {
	case forget:
		return conn.ResetFailed(ctx, runner.Name)
	case stopNow:
		return conn.Stop(ctx, runner.Name)
	case cutShort:
		return errors.Join(conn.Stop(ctx, runner.Name), retireOnceStarted(ctx, conn, runner.Name))
	case letStart:
		// In this order: what looks why its start has failed must see that it was stopped.
		return errors.Join(retireOnceStarted(ctx, conn, runner.Name), endHealthCheck(ctx, conn, runner.Name))
	}
	return nil
}

// retireOnceStarted drains and stops a runner that starts now as soon as it has
// started. If its start fails, its failed state is cleared.
func retireOnceStarted(ctx context.Context, conn systemdConn, runner string) error {
	_, err := conn.Start(ctx, name.Retire(runner))
	return err
}

// endHealthCheck makes the start of a runner fail if it still waits for health.
func endHealthCheck(ctx context.Context, conn systemdConn, runner string) error {
	pid, err := conn.ControlPID(ctx, runner)
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
	if process.Program(pid) != "sm-healthcheck" {
		return nil
	}
	if err := control.Signal(unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the health check of %s: %w", runner, err)
	}
	return nil
}

// watchOutage starts the unit that fails when nothing serves for too long. Once it has
// failed, it stays so until the service serves.
func watchOutage(ctx context.Context, conn systemdConn, service name.Service) error {
	unit := service.Outage()
	state, err := conn.State(ctx, unit)
	if err != nil || state.ActiveState != "inactive" || state.LoadState != "loaded" {
		return err
	}
	_, err = conn.Start(ctx, unit)
	return err
}

// endOutage clears the failure of that unit.
func endOutage(ctx context.Context, conn systemdConn, service name.Service) error {
	unit := service.Outage()
	state, err := conn.State(ctx, unit)
	if err != nil || state.ActiveState != "failed" {
		return err
	}
	return conn.ResetFailed(ctx, unit)
}

// startDocker starts Docker unless it runs, as a Wants= on it would.
func startDocker(ctx context.Context, conn systemdConn) error {
	docker, err := conn.State(ctx, dockerUnit)
	if err != nil || docker.LoadState != "loaded" || docker.ActiveState == "active" {
		return err
	}
	_, err = conn.Start(ctx, dockerUnit)
	return err
}

// stopOrphans stops the runners of a service whose manager was stopped while it could run
// no command.
func (r rollout) stopOrphans(ctx context.Context, conn systemdConn, service name.Service) error {
	runners, err := conn.Runners(ctx, service)
	if err != nil {
		return err
	}
	for _, one := range runners {
		if systemd.Busy(one) {
			fmt.Fprintf(r.w.Stdout, "%s: %s was stopped; stopping %s\n", service, service.Manager(), one.Name)
			if err := conn.Stop(ctx, one.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
