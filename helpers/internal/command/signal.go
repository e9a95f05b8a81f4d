package command

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalError ends the process by a signal, so that its parent sees
// that. Nothing is printed.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by " + unix.SignalName(e.Signal) }

// die ends this process by a signal. It returns only when that is impossible.
func die(s syscall.Signal) {
	signal.Reset(s)
	// It may have been blocked when this process began.
	runtime.LockOSThread()
	set := unix.Sigset_t{}
	set.Val[(s-1)/64] |= 1 << (uint(s-1) % 64)
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil); err != nil {
		fmt.Fprintf(stderr(), "unblock %s: %v\n", unix.SignalName(s), err)
		return
	}
	if err := unix.Kill(os.Getpid(), s); err != nil {
		fmt.Fprintf(stderr(), "send %s to this process: %v\n", unix.SignalName(s), err)
		return
	}
	// The signal may reach another thread a moment later.
	select {}
}
