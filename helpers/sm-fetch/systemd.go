package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"service-manager/helpers/internal/systemd"
	"service-manager/units"
)

// system is what sm-fetch asks of systemd.
type system interface {
	// reload has systemd read its units again.
	reload(ctx context.Context) error
	// stop stops a service in order: the manager, whose stop drains and stops the
	// runners, and then whatever runner is left. progress is told what it waits for.
	stop(ctx context.Context, service string, progress func(units string)) error
}

// realSystem is the systemd that has booted this host.
type realSystem struct{}

func (realSystem) reload(ctx context.Context) error {
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.ReloadContext(ctx)
}

func (realSystem) stop(ctx context.Context, service string, progress func(string)) error {
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	manager := units.ManagerUnit(service)
	result := make(chan string, 1)
	_, err = conn.StopUnitContext(ctx, manager, "replace", result)
	var refused godbus.Error
	switch {
	case errors.As(err, &refused) && refused.Name == "org.freedesktop.systemd1.NoSuchUnit":
		// It never got as far as to have units.
	case err != nil:
		return fmt.Errorf("stop %s: %w", manager, err)
	default:
		progress(manager)
		if err := wait(ctx, conn, manager, result); err != nil {
			return err
		}
	}
	return conn.StopRunners(ctx, service, func(stopping []string) { progress(strings.Join(stopping, ", ")) })
}

// wait waits for the result of a job that stops a unit.
func wait(ctx context.Context, conn *systemd.Conn, unit string, result <-chan string) error {
	alive := time.NewTicker(systemd.LookAgain)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", unit, context.Cause(ctx))
		case <-alive.C:
			if !conn.Connected() {
				return fmt.Errorf("stop %s: %w", unit, systemd.ErrConnectionLost)
			}
		case r := <-result:
			if r != "done" {
				return fmt.Errorf("stop %s: the job ended as %q", unit, r)
			}
			return nil
		}
	}
}
