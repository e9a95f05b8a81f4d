package command

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

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
	if want := "sm-x: web: exited with status 3: the password\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	if len(states) != 1 || states[0] != "STATUS=web: exited with status 3" {
		t.Errorf("told systemd %q", states)
	}
}
