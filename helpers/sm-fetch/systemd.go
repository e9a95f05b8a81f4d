package main

import (
	"context"
	"errors"
	"strings"

	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// system is what sm-fetch asks of systemd.
type system interface {
	// reload makes systemd read its units again.
	reload(ctx context.Context) error
	// stop stops a service in order: the manager, whose stop drains and stops the
	// runners, and then any runner that is left. progress is told what it waits for.
	stop(ctx context.Context, service name.Service, progress func(units string)) error
	// forget clears the failed state of the units of a service that is gone.
	forget(ctx context.Context, service name.Service) error
	// busy returns the revisions of a service that have a unit that is not simply
	// inactive, or a job.
	busy(ctx context.Context, service name.Service) ([]name.Rev, error)
}

// realSystem is the systemd that this host runs.
type realSystem struct{}

func (realSystem) reload(ctx context.Context) error {
	return ask(ctx, func(conn *systemd.Conn) error { return conn.ReloadContext(ctx) })
}

func (realSystem) forget(ctx context.Context, service name.Service) error {
	return ask(ctx, func(conn *systemd.Conn) error {
		loaded, err := unitsOf(ctx, conn, service)
		if err != nil {
			return err
		}
		var problems []error
		for _, unit := range failures(service, loaded) {
			problems = append(problems, conn.ResetFailed(ctx, unit))
		}
		return errors.Join(problems...)
	})
}

func (realSystem) busy(ctx context.Context, service name.Service) (revs []name.Rev, err error) {
	err = ask(ctx, func(conn *systemd.Conn) error {
		loaded, err := unitsOf(ctx, conn, service)
		revs = busyRevisions(service, loaded)
		return err
	})
	return revs, err
}

// ask connects to systemd for f, which may be repeated.
func ask(ctx context.Context, f func(*systemd.Conn) error) error {
	return systemd.Patiently(ctx, func() error {
		conn, err := systemd.Connect(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return f(conn)
	})
}

func (realSystem) stop(ctx context.Context, service name.Service, progress func(string)) error {
	tell := func(stopping []string) { progress(strings.Join(stopping, ", ")) }
	return ask(ctx, func(conn *systemd.Conn) error {
		// A service may never have got as far as having a manager.
		if err := conn.StopUnits(ctx, []string{service.Manager()}, "replace", tell); err != nil {
			return err
		}
		if err := conn.StopRunners(ctx, service, nil, tell); err != nil {
			return err
		}
		outage := service.Outage()
		if err := conn.Stop(ctx, outage); err != nil {
			return err
		}
		return conn.ResetFailed(ctx, outage)
	})
}
