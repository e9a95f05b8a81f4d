package systemd

import (
	"slices"
	"testing"
	"time"
)

func TestIsRunner(t *testing.T) {
	for unit, want := range map[string]bool{
		"postgresql@2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d.service": true,
		"postgresql@manager.service":                            false,
		"postgresql@15-main.service":                            false,
		"postgresql@.service":                                   false,
		"postgresql@1000.service":                               false,
	} {
		if got := isRunner("postgresql", unit); got != want {
			t.Errorf("isRunner(%s) = %v", unit, got)
		}
	}
}

func TestMayHaveTraffic(t *testing.T) {
	for program, want := range map[string]bool{
		"sm-healthcheck": false, "curl": false, // before traffic
		"sm-ipvs": true, "sm-rollout": true,
		"": true, "(sm-ipvs)": true, "(-rollout)": true, "systemd": true, "systemd-executo": true,
	} {
		if got := mayHaveTraffic(program); got != want {
			t.Errorf("mayHaveTraffic(%q) = %v", program, got)
		}
	}
}

func TestExits(t *testing.T) {
	command := func(started, ended uint64, code, status int32) []any {
		return []any{"/bin/x", []string{"x"}, false, 1 << 40, started, 1 << 30, ended, uint32(7), code, status}
	}
	got := exitsOf([][]any{
		command(5, 6, 1, 3),   // of an earlier start
		command(20, 21, 1, 0), // has succeeded
		command(0, 23, 1, 75), // there was a reload meanwhile
		command(24, 25, 2, 9), // was killed
		command(26, 0, 0, 0),  // runs
		command(0, 0, 0, 0),   // has not begun
		{"something else"},
	}, 10*time.Microsecond)
	if want := []Exit{{"x", 0, 21}, {"x", 75, 23}, {"x", -9, 25}}; !slices.Equal(got, want) {
		t.Errorf("exitsOf = %v; want %v", got, want)
	}
	if got := exitsOf("something else", 0); got != nil {
		t.Errorf("exitsOf = %v; want none", got)
	}
}
