package main

import (
	"slices"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/name"
)

func TestUnitsOfAService(t *testing.T) {
	const (
		one   = "1-62d4023616ab1e7921f74f650aab51e1"
		two   = "2-62d4023616ab1e7921f74f650aab51e1"
		three = "3-62d4023616ab1e7921f74f650aab51e1"
		four  = "4-62d4023616ab1e7921f74f650aab51e1"
	)
	loaded := []dbus.UnitStatus{
		{Name: "web@manager.service", ActiveState: "failed"},
		{Name: "web@" + one + ".service", ActiveState: "inactive"},
		{Name: "web@" + two + ".service", ActiveState: "failed"},
		{Name: "web@" + three + ".service", ActiveState: "inactive", JobId: 7},
		{Name: "sm-start@web@" + one + ".service", ActiveState: "inactive"},
		{Name: "sm-start@web@" + three + ".service", ActiveState: "active"},
		{Name: "sm-retire@web@" + four + ".service", ActiveState: "activating"},
		{Name: "sm-start@web@manager.service", ActiveState: "failed"},
		{Name: "sm-outage@web.service", ActiveState: "failed"},
		// Those of others that look alike.
		{Name: "web@15-main.service", ActiveState: "failed"},
		{Name: "sm-start@web@15-main.service", ActiveState: "failed"},
		{Name: "sm-web@" + one + ".service", ActiveState: "failed"},
	}
	if got, want := busyRevisions("web", loaded), []name.Rev{two, three, four}; !slices.Equal(got, want) {
		t.Errorf("busy are %q, want %q", got, want)
	}
	want := []string{"web@manager.service", "web@" + two + ".service", "sm-start@web@manager.service", "sm-outage@web.service"}
	if got := failures("web", loaded); !slices.Equal(got, want) {
		t.Errorf("failed are %q, want %q", got, want)
	}
}
