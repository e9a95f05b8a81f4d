package main

import (
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
)

// A sweep has nothing to do while Docker does not run; while it starts or stops, it may.
func TestDown(t *testing.T) {
	for _, test := range []struct {
		load, active, job string
		want              bool
	}{
		{"loaded", "inactive", "", true},
		{"loaded", "failed", "", true},
		{"loaded", "inactive", "start", false},
		{"loaded", "active", "", false},
		{"loaded", "activating", "", false},
		{"loaded", "deactivating", "stop", false},
		{"not-found", "inactive", "", false}, // DOCKER_HOST names another
	} {
		state := dbus.UnitStatus{LoadState: test.load, ActiveState: test.active, JobType: test.job}
		if test.job != "" {
			state.JobId = 1
		}
		if got := down(state); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}
