package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// unitsOf returns the units that systemd has loaded and that may be about a service.
func unitsOf(ctx context.Context, conn *systemd.Conn, service name.Service) ([]dbus.UnitStatus, error) {
	patterns := []string{service.Units(), "sm-*@" + service.Units(), service.Outage(), service.Hold()}
	loaded, err := conn.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("list the units of %s: %w", service, err)
	}
	return loaded, nil
}

// busyRevisions returns the revisions of a service for which a unit has a job, or is not
// simply inactive: a runner, or a unit that starts or stops one.
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

// failures returns the units of a service that have failed.
func failures(service name.Service, loaded []dbus.UnitStatus) []string {
	var names []string
	for _, unit := range loaded {
		subject := name.Subject(unit.Name)
		runner, err := name.ParseUnit(subject)
		ours := err == nil && runner.Service == service || subject == service.Manager() || unit.Name == service.Outage() || unit.Name == service.Hold()
		if unit.ActiveState == "failed" && ours {
			names = append(names, unit.Name)
		}
	}
	return names
}
