package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os/exec"
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
			cmd := exec.Command("sh", "-c", test.script)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			p, err := process.Open(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			var stderr bytes.Buffer
			patience := time.Minute
			r := &runner{w: command.World{Name: "sm-docker-run", Stderr: &stderr, Env: func(string) (string, bool) { return "", false }},
				o: &options{name: "web", stopSignal: test.signal, stopTimeout: stopTimeout(time.Second), patience: &patience}}
			err = r.stopProcess(context.Background(), p)
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
