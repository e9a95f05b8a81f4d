package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"service-manager/units/name"

	"github.com/coreos/go-systemd/v22/dbus"
)

// BusyRevisions returns the revisions of a service for which a unit has a job, or is not
// simply inactive: a runner, or a unit that starts or stops one.
func (c *Conn) BusyRevisions(ctx context.Context, service name.Service) ([]name.Rev, error) {
	loaded, err := c.unitsOf(ctx, service)
	if err != nil {
		return nil, err
	}
	return busyRevisions(service, loaded), nil
}

func busyRevisions(service name.Service, loaded []dbus.UnitStatus) []name.Rev {
	var revs []name.Rev
	for _, unit := range loaded {
		runner, err := name.ParseUnit(name.Subject(unit.Name))
		if err != nil || runner.Service != service || unit.ActiveState == "inactive" && unit.JobId == 0 {
			continue
		}
		revs = append(revs, runner.Rev)
	}
	slices.Sort(revs)
	return slices.Compact(revs)
}

// ForgetFailures clears the failed state of all units of a service that is gone.
func (c *Conn) ForgetFailures(ctx context.Context, service name.Service) error {
	loaded, err := c.unitsOf(ctx, service)
	if err != nil {
		return err
	}
	var problems []error
	for _, unit := range failures(service, loaded) {
		problems = append(problems, c.ResetFailed(ctx, unit))
	}
	return errors.Join(problems...)
}

func failures(service name.Service, loaded []dbus.UnitStatus) []string {
	var names []string
	for _, unit := range loaded {
		subject := name.Subject(unit.Name)
		ours := isRunner(service, subject) || subject == service.Manager() || unit.Name == service.Outage() || unit.Name == service.Hold()
		if unit.ActiveState == "failed" && ours {
			names = append(names, unit.Name)
		}
	}
	return names
}

// unitsOf returns the units that systemd has loaded and that may be about a service.
func (c *Conn) unitsOf(ctx context.Context, service name.Service) ([]dbus.UnitStatus, error) {
	patterns := []string{service.Units(), "sm-*@" + service.Units(), service.Outage(), service.Hold()}
	loaded, err := c.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("list the units of %s: %w", service, err)
	}
	return loaded, nil
}
