package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
)

func TestOnce(t *testing.T) {
	for _, test := range []struct {
		name    string
		daemon  *daemon
		flags   []string
		done    bool   // before
		err     string // empty: it succeeds
		detail  string // what the error may show to root alone
		nothing bool   // the daemon is asked nothing
	}{
		{name: "it succeeds"},
		{name: "it was done", done: true, nothing: true},
		{name: "one of an earlier run is left", daemon: &daemon{left: true}},
		{name: "one of a helper that was killed is left", daemon: &daemon{orphan: true}},
		{name: "it fails", daemon: &daemon{exitCode: 3}, err: "web: exited with status 3", detail: `"config not found"`},
		// The exit status for "the host failed" is not the container's to use.
		{name: "it fails with 75", daemon: &daemon{exitCode: 75}, err: "web: exited with status 75", detail: `"config not found"`},
		{name: "it does not start", daemon: &daemon{startErr: "no such program"}, err: "web: start the container: no such program"},
		{name: "it does not end", daemon: &daemon{silent: true}, flags: []string{"--timeout", "20ms"}, err: "web: did not end within 20ms"},
		{name: "it cannot be removed", daemon: &daemon{firm: true}, err: "web: remove container 0123: device or resource busy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			done := filepath.Join(t.TempDir(), "done")
			if test.done {
				if err := os.WriteFile(done, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := cmp.Or(test.daemon, &daemon{})
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
			if left, _ := filepath.Glob(done + "?*"); len(left) > 0 {
				t.Errorf("it leaves %s", left)
			}
			if d.overlaps || !test.nothing && !strings.Contains(d.asked, "service-manager.once="+done) {
				t.Errorf("it ran beside one that does the same: %t; asked for those with %s", d.overlaps, d.asked)
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

// Two that do the same do it one after the other, and so once.
func TestOnceAtATime(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done")
	began := make(chan bool, 2)
	d := &daemon{t: t, ends: make(chan bool), onCreate: func() { began <- true }}
	d.serve()
	world := func(states func(string)) command.World {
		return command.World{
			Args: []string{"once", "--name", "web", "--done", done, "img"}, Stdout: io.Discard, Stderr: io.Discard,
			Env: func(string) (string, bool) { return "", false }, Notify: notify.To(states),
		}
	}
	ended := make(chan error, 2)
	go func() { ended <- run(t.Context(), world(func(string) {})) }()
	<-began
	waits := make(chan bool, 2)
	go func() { ended <- run(t.Context(), world(func(string) { waits <- true })) }()
	<-waits // it has asked for the time that this takes
	close(d.ends)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if len(began) > 0 {
		t.Error("it was done twice")
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
