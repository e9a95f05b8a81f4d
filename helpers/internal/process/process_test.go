package process

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// child starts a process that ends when its standard input is closed.
func child(t *testing.T) (*exec.Cmd, io.Closer, *Process) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, stdin, p
}

func TestWait(t *testing.T) {
	cmd, stdin, p := child(t)
	defer p.Close()

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := p.Wait(ctx); err != cause {
		t.Errorf("Wait of a living process with an ended context = %v; want %v", err, cause)
	}
	if p.Ended() {
		t.Error("a living process has ended")
	}
	// An ended wait does not end the next one.
	ended := make(chan error, 1)
	go func() { ended <- p.Wait(context.Background()) }()
	stdin.Close()
	if err := <-ended; err != nil {
		t.Errorf("Wait of a process that ends = %v; want nil", err)
	}
	if !p.Ended() {
		t.Error("a process that has ended lives")
	}
	pid := cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(pid); !errors.Is(err, unix.ESRCH) {
		t.Errorf("Open of a process that was reaped = %v; want ESRCH", err)
	}
}
