package harness

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner is a goroutine that owns an operating system thread for the life of
// the process. The kernel sends a child's parent-death signal when the *thread*
// that started it ends, so children are started from one that never does.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartChild starts cmd so that the kernel kills it when this process ends,
// however it ends.
func StartChild(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	result := make(chan error)
	spawner() <- func() { result <- cmd.Start() }
	return <-result
}

// RunChild is StartChild, then cmd.Wait.
func RunChild(cmd *exec.Cmd) error {
	if err := StartChild(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// ExitCode returns the exit code that err from cmd.Wait stands for, and false
// when the command did not run or was killed.
func ExitCode(err error) (int, bool) {
	if err == nil {
		return 0, true
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), true
	}
	return 0, false
}
