package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
)

func TestOnce(t *testing.T) {
	for _, test := range []struct {
		name    string
		daemon  daemon
		flags   []string
		done    bool   // before
		err     string // empty: it succeeds
		detail  string // what the error may show to root alone
		nothing bool   // the daemon is asked nothing
	}{
		{name: "it succeeds"},
		{name: "it was done", done: true, nothing: true},
		{name: "one of an earlier run is left", daemon: daemon{left: true}},
		{name: "it fails", daemon: daemon{exitCode: 3}, err: "web: exited with status 3", detail: `"config not found"`},
		// The exit status for "the host failed" is not the container's to use.
		{name: "it fails with 75", daemon: daemon{exitCode: 75}, err: "web: exited with status 75", detail: `"config not found"`},
		{name: "it does not start", daemon: daemon{startErr: "no such program"}, err: "web: start the container: no such program"},
		{name: "it does not end", daemon: daemon{silent: true}, flags: []string{"--timeout", "20ms"}, err: "web: did not end within 20ms"},
		{name: "it cannot be removed", daemon: daemon{firm: true}, err: "web: remove container 0123: device or resource busy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			done := filepath.Join(t.TempDir(), "done")
			if test.done {
				if err := os.WriteFile(done, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := &test.daemon
			d.t = t
			o := d.run(t.Context(), slices.Concat([]string{"once", "--name", "web", "--done", done}, test.flags, []string{"img", "migrate"})...)
			_, err := os.Stat(done)
			if isDone := err == nil; isDone != (test.err == "" || d.firm) {
				t.Errorf("done: %t", isDone)
			}
			if test.nothing != (len(d.requests) == 0) || !test.nothing && !o.removed {
				t.Errorf("requests: %q", d.requests)
			}
			if slices.Contains(o.states, "READY=1") {
				t.Errorf("it said READY=1: %q", o.states)
			}
			if test.err == "" {
				if o.err != nil {
					t.Error(o.err)
				}
				return
			}
			var detailed *command.DetailedError
			if o.err == nil || !strings.HasPrefix(o.err.Error(), test.err) || errors.As(o.err, new(*command.ExitError)) ||
				errors.As(o.err, &detailed) != (test.detail != "") || detailed != nil && detailed.Detail != test.detail {
				t.Errorf("got %v (%v); want %s, %s", o.err, detailed, test.err, test.detail)
			}
		})
	}
}

func TestOnceIsStopped(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done")
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{t: t, silent: true}
	time.AfterFunc(50*time.Millisecond, cancel)
	o := d.run(ctx, "once", "--name", "web", "--done", done, "img")
	var killed *command.SignalError
	if !errors.As(o.err, &killed) || killed.Signal != unix.SIGTERM || !o.removed {
		t.Errorf("got %v, requests %q", o.err, d.requests)
	}
	if _, err := os.Stat(done); err == nil {
		t.Error("it counts as done")
	}
}
