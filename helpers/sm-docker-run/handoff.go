package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/process"
)

// There is one sm-docker-run for each container, waiting for weeks. What a start
// leaves in its memory (the heap that JSON and HTTP took, huge pages around it)
// cannot be given back in full, so for the wait the process re-executes itself:
// same process id, same arguments, nothing in its memory yet. This is as in
// "exec" of a shell script.

// handoffEnv names, for the new image, the container and the descriptor of its
// process.
const handoffEnv = "SM_DOCKER_RUN_WAIT"

// stopSignals are what makes command.Main end its context.
var stopSignals = []os.Signal{unix.SIGTERM, unix.SIGINT}

// handoff re-executes this program for the wait. It returns when that is not
// possible, or when a signal to stop has come; the wait has to be done in this
// image then.
func handoff(ctx context.Context, id string, p *process.Process, caught chan os.Signal) error {
	// From here on a signal stays pending for the new image. The call is refused
	// in programs linked with C, whose threads Go does not know.
	if err := maskStopSignals(unix.SIG_BLOCK); err != nil {
		return err
	}
	defer maskStopSignals(unix.SIG_UNBLOCK)
	// Stop returns after the signals that came before have been delivered.
	signal.Stop(caught)
	if len(caught) > 0 || ctx.Err() != nil {
		return errors.New("a signal came first")
	}
	fd, err := p.Inheritable()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// With huge pages, a few bytes in a large zeroed variable cost 2 MB.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("disable huge pages: %w", err)
	}
	// A container that was taken over has been handed over before.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, handoffEnv+"=") })
	env = append(env, fmt.Sprintf("%s=%s:%d", handoffEnv, id, fd), "GOMAXPROCS=1")
	// Not by its path: an update may have put another version there.
	return unix.Exec("/proc/self/exe", os.Args, env)
}

// taken returns what a former image of this process has handed over. ok is false
// when this is the first one.
func taken(env func(string) (string, bool)) (id string, p *process.Process, ok bool, err error) {
	text, ok := env(handoffEnv)
	if !ok {
		return "", nil, false, nil
	}
	id, number, _ := strings.Cut(text, ":")
	fd, err := strconv.Atoi(number)
	if err != nil || id == "" {
		return "", nil, true, fmt.Errorf("%s is for this program's own use (got %q)", handoffEnv, text)
	}
	// The kernel names a process after the file it executes, here "exe".
	if err := os.WriteFile("/proc/self/comm", []byte("sm-docker-run"), 0); err != nil {
		return "", nil, true, fmt.Errorf("name this process: %w", err)
	}
	p, err = process.Inherited(fd)
	return id, p, true, err
}

// maskStopSignals blocks or unblocks the signals in all threads of the process.
func maskStopSignals(how uintptr) error {
	var set uint64
	for _, s := range stopSignals {
		set |= 1 << (uint(s.(syscall.Signal)) - 1)
	}
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(&set)), 0, unsafe.Sizeof(set), 0, 0)
	if errno != 0 {
		return fmt.Errorf("block signals: %w", errno)
	}
	return nil
}
