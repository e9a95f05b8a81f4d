package command

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/notify"
)

// Everyone may read a unit's status, but not the journal.
func TestDetailIsNotInTheStatus(t *testing.T) {
	var said bytes.Buffer
	var states []string
	w := World{
		Stderr: &said,
		Env:    func(string) (string, bool) { return "", false },
		Notify: notify.To(func(state string) { states = append(states, state) }),
	}
	err := &ExitError{Code: 3, Err: &DetailedError{Err: errors.New("exited with status 3"), Detail: "the\npassword"}}
	if code := Report("sm-x", w, fmt.Errorf("web: %w", err)); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if want := "sm-x: error: web: exited with status 3: the password\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	if len(states) != 1 || states[0] != "STATUS=web: exited with status 3" {
		t.Errorf("told systemd %q", states)
	}
}

// All programs speak with one voice.
func TestVoice(t *testing.T) {
	flags := func(args ...string) error {
		f := NewFlags("pull", "Usage")
		f.Duration("timeout", 0, "time")
		f.Bool("all", false, "all")
		return f.Parse(World{}, args)
	}
	for _, test := range []struct {
		err     error
		journal string
		want    string
	}{
		{errors.New("web: no"), "", "sm-x: error: web: no\n"},
		{fmt.Errorf("web: %w", hint.Add(errors.New("docker.service is stopped"), "run systemctl start docker")), "1:2",
			"<3>sm-x: error: web: docker.service is stopped\n<3>sm-x: hint: run systemctl start docker\n"},
		{Usagef("one URL must be given (got %d)", 0), "", "sm-x: error: one URL must be given (got 0)\nsm-x: hint: run sm-x -h\n"},
		{flags("--wait"), "", "sm-x: error: --wait is not a flag\nsm-x: hint: run sm-x -h\n"},
		{flags("--timeout"), "", "sm-x: error: --timeout needs a value\nsm-x: hint: run sm-x -h\n"},
		{flags("--timeout", "60"), "", "sm-x: error: --timeout: must be a duration with a unit, such as 30s or 1m30s (got \"60\")\nsm-x: hint: run sm-x -h\n"},
		{flags("--all=x"), "", "sm-x: error: --all: parse error (got \"x\")\nsm-x: hint: run sm-x -h\n"},
	} {
		var said bytes.Buffer
		Report("sm-x", World{Stderr: &said, Env: func(string) (string, bool) { return test.journal, test.journal != "" }}, test.err)
		if said.String() != test.want {
			t.Errorf("said %q, want %q", said.String(), test.want)
		}
	}
	var said bytes.Buffer
	w := World{Name: "sm-x", Stderr: &said, Env: func(string) (string, bool) { return "", false }}
	w.Warning("web: had to be %s", "killed")
	w.Warn(hint.Add(errors.New("web: others still run"), "run systemctl status web"))
	if want := "sm-x: warning: web: had to be killed\nsm-x: warning: web: others still run\nsm-x: hint: run systemctl status web\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
}
