package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

func TestEnding(t *testing.T) {
	for _, test := range []struct {
		state container.State
		want  string
	}{
		{container.State{ExitCode: 3}, "exited with status 3"},
		{container.State{ExitCode: 139}, "killed by SIGSEGV (status 139)"},
		{container.State{ExitCode: 137}, "killed by SIGKILL (status 137)"},
		{container.State{ExitCode: 137, OOMKilled: true}, "killed by SIGKILL (out of memory)"},
		{container.State{ExitCode: 1, OOMKilled: true}, "exited with status 1, after one of its processes ran out of memory"},
		{container.State{ExitCode: 127, Error: "no such file"}, "exited with status 127: no such file"},
		{container.State{ExitCode: 128}, "exited with status 128"},
		{container.State{ExitCode: 255}, "exited with status 255"},
	} {
		if got := ending(test.state); got != test.want {
			t.Errorf("%+v: got %s; want %s", test.state, got, test.want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"short", "short"},
		{strings.Repeat("é", 150), strings.Repeat("é", 100) + "…"},
		{"a" + strings.Repeat("é", 150), "a" + strings.Repeat("é", 99) + "…"},
	} {
		if got := shorten(test.in, 200); got != test.want {
			t.Errorf("%s: got %s; want %s", test.in, got, test.want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]syscall.Signal{
		"": unix.SIGTERM, "SIGQUIT": unix.SIGQUIT, "quit": unix.SIGQUIT, "3": unix.SIGQUIT, "SIGWINCH": unix.SIGWINCH, "nope": 0,
	} {
		if got := parseSignal(in); got != want {
			t.Errorf("parseSignal(%q) = %d; want %d", in, got, want)
		}
	}
}
