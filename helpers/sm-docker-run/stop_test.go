package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/process"
)

// A container whose daemon has left it running is stopped by its process.
func TestStopProcess(t *testing.T) {
	for _, test := range []struct {
		name, script, signal, stderr string
		ended                        unix.Signal
	}{
		{"by SIGTERM", "echo ready; exec sleep 60", "", "", unix.SIGTERM},
		{"by its signal", "echo ready; exec sleep 60", "SIGQUIT", "", unix.SIGQUIT},
		{"by force", "trap '' TERM; echo ready; while true; do sleep 60; done", "",
			"sm-docker-run: warning: web: had to be killed: still running 1s after SIGTERM\n", unix.SIGKILL},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd, p := started(t, test.script)
			var stderr bytes.Buffer
			patience := time.Minute
			r := &runner{w: command.World{Name: "sm-docker-run", Stderr: &stderr, Env: func(string) (string, bool) { return "", false }},
				o: &options{name: "web", stopSignal: test.signal, stopTimeout: stopTimeout(time.Second), patience: &patience}}
			err := r.stopProcess(context.Background(), p)
			if ended := new(command.SignalError); !errors.As(err, &ended) || ended.Signal != unix.SIGTERM {
				t.Errorf("got %v; want the end by SIGTERM", err)
			}
			if stderr.String() != test.stderr {
				t.Errorf("standard error = %q; want %q", stderr.String(), test.stderr)
			}
			cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != test.ended {
				t.Errorf("ended by %s; want %s", status.Signal(), test.ended)
			}
		})
	}
}

// started returns a process that runs a script, which has said that it is ready.
func started(t *testing.T, script string) (*exec.Cmd, *process.Process) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p, err := process.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return cmd, p
}

// A daemon that answers a ping, and then hangs or goes away, does not keep a container
// running.
func TestStopWithHangingDaemon(t *testing.T) {
	const stop = "POST /containers/0123/stop"
	for _, test := range []struct {
		name    string
		daemon  *daemon
		visible bool
		limit   time.Duration
		want    string // the error; empty: the process is stopped
	}{
		{"it hangs", &daemon{hang: stop}, true, time.Second, ""},
		{"it goes away", &daemon{vanish: stop}, true, time.Second, ""},
		{"it does not tell the end", &daemon{hang: "POST /containers/0123/wait"}, true, time.Second, ""},
		{"the process cannot be seen", &daemon{hang: stop}, false, 0, "does not answer (waited 50ms)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.daemon.t = t
			test.daemon.serve()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // told to stop
			cmd, p := started(t, "echo ready; exec sleep 60")
			seen := p
			if !test.visible {
				seen = nil
			}
			patience := 50 * time.Millisecond
			r := &runner{w: command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }},
				o: &options{name: "web", stopTimeout: stopTimeout(test.limit), patience: &patience}}
			err := r.end(ctx, "0123", seen, nil)
			if test.want != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "web: stop the container: ") || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v; want %s", err, test.want)
				}
				return
			}
			if ended := new(command.SignalError); !errors.As(err, &ended) || ended.Signal != unix.SIGTERM {
				t.Fatalf("got %v; want the end by SIGTERM", err)
			}
			cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != unix.SIGTERM {
				t.Errorf("ended by %s; want SIGTERM", status.Signal())
			}
		})
	}
}
