package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/definition"
)

// BusyRevisions returns the revisions of a service that a unit is about which is
// not simply inactive, or has a job: a runner, or one that starts or stops it.
func (c *Conn) BusyRevisions(ctx context.Context, service string) ([]string, error) {
	loaded, err := c.unitsOf(ctx, service)
	if err != nil {
		return nil, err
	}
	return busyRevisions(service, loaded), nil
}

func busyRevisions(service string, loaded []dbus.UnitStatus) []string {
	var revisions []string
	for _, unit := range loaded {
		runner := aboutUnit(unit.Name)
		if !isRunner(service, runner) || unit.ActiveState == "inactive" && unit.JobId == 0 {
			continue
		}
		revisions = append(revisions, strings.TrimSuffix(strings.TrimPrefix(runner, service+"@"), ".service"))
	}
	slices.Sort(revisions)
	return slices.Compact(revisions)
}

// ForgetFailures clears the failed state of all units of a service that is gone.
func (c *Conn) ForgetFailures(ctx context.Context, service string) error {
	loaded, err := c.unitsOf(ctx, service)
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range failures(service, loaded) {
		if err := c.ResetFailedUnitContext(ctx, name); err != nil && !noSuchUnit(err) {
			problems = append(problems, fmt.Errorf("reset the failed state of %s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func failures(service string, loaded []dbus.UnitStatus) []string {
	var names []string
	for _, unit := range loaded {
		about := aboutUnit(unit.Name)
		ours := isRunner(service, about) || about == service+"@manager.service" ||
			about != unit.Name && about == service+".service"
		if unit.ActiveState == "failed" && ours {
			names = append(names, unit.Name)
		}
	}
	return names
}

// unitsOf returns the units that may be about a service and that systemd has
// loaded.
func (c *Conn) unitsOf(ctx context.Context, service string) ([]dbus.UnitStatus, error) {
	patterns := []string{service + "@*.service", "sm-*@" + service + "@*.service", "sm-*@" + service + ".service"}
	loaded, err := c.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("list the units of %s: %w", service, err)
	}
	return loaded, nil
}

// aboutUnit returns the unit that a unit is about: that an instance of a template
// like sm-start@ is named after, or else the unit itself.
func aboutUnit(unit string) string {
	template, instance, _ := strings.Cut(unit, "@")
	if strings.HasPrefix(template, "sm-") && definition.CheckRevision(strings.TrimSuffix(instance, ".service")) != nil {
		return instance
	}
	return unit
}
