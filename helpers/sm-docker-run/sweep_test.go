package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
)

// A sweep fails when Docker does, and not because Docker was stopped.
func TestUnlessStopped(t *testing.T) {
	const line = "nothing to sweep: docker.service has been stopped; its start sweeps\n"
	broken := errors.New("broken")
	for _, test := range []struct {
		err, want error
		stdout    string
	}{
		{fmt.Errorf("list: %w", docker.ErrStopped), nil, line},
		{broken, broken, ""},
		{nil, nil, ""},
	} {
		var stdout bytes.Buffer
		if got := unlessStopped(command.World{Stdout: &stdout}, test.err); got != test.want || stdout.String() != test.stdout {
			t.Errorf("%v: got %v and %q; want %v and %q", test.err, got, stdout.String(), test.want, test.stdout)
		}
	}
}
