package overview

import (
	"context"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/name"
	"service-manager/units/revision"
)

const (
	web = name.Service("web")
	one = name.Rev("1-11111111111111111111111111111111")
	two = name.Rev("2-22222222222222222222222222222222")
)

// loaded is a systemd that has loaded these units.
type loaded []dbus.UnitStatus

func (l loaded) State(_ context.Context, unit string) (dbus.UnitStatus, error) {
	return dbus.UnitStatus{Name: unit, LoadState: "loaded", ActiveState: "inactive"}, nil
}
func (l loaded) Runners(context.Context, name.Service) ([]dbus.UnitStatus, error) { return l, nil }
func (l loaded) StatusText(_ context.Context, unit string) (string, error) {
	return "says " + unit[:5], nil
}

// Runners are in the order of their names, whatever systemd's is, and each says why it does
// not serve.
func TestLook(t *testing.T) {
	unit := func(rev name.Rev, number int, load, active string) dbus.UnitStatus {
		return dbus.UnitStatus{Name: web.Revision(rev).Runners(number)[number-1].Unit(), LoadState: load, ActiveState: active}
	}
	store := revision.Store{Root: t.TempDir(), Run: t.TempDir()}
	if err := store.SetFailed(web.Revision(one), "not healthy"); err != nil {
		t.Fatal(err)
	}
	s, err := Look(t.Context(), store, loaded{
		unit(two, 2, "masked", "inactive"), unit(two, 1, "loaded", "activating"), unit(one, 1, "loaded", "failed"),
	}, web)
	if err != nil {
		t.Fatal(err)
	}
	want := string(one) + " was rejected: not healthy; " + string(two) + " is activating: says web@2; " +
		string(two) + ":2 is masked, so it cannot start; run systemctl unmask web@" + string(two) + ":2.service"
	if got := s.Why(); got != want {
		t.Errorf("got  %s\nwant %s", strings.ReplaceAll(got, "; ", ";\n     "), strings.ReplaceAll(want, "; ", ";\n     "))
	}
	if s.Serves("") || !s.MayServe("") || s.MayServe(web.Revision(two).First().Unit()) {
		t.Errorf("serves %v, may serve %v, and without the one that starts %v", s.Serves(""), s.MayServe(""), s.MayServe(web.Revision(two).First().Unit()))
	}
}
