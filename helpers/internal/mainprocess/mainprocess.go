// Package mainprocess watches the main process of the unit that a helper runs
// in. systemd continues with the commands of ExecStartPost= after the main process
// has died, and also when the unit is being stopped, so each of them has to look
// for itself: a container that is dead or about to end must not get traffic.
package mainprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/process"
	"service-manager/helpers/internal/systemd"
)

// ErrGone says that the unit's main process has ended.
var ErrGone = errors.New("the main process of the unit has ended")

// ErrStopping says that the unit is being stopped.
var ErrStopping = errors.New("the unit is being stopped")

// Gone returns the error of a helper that gives up because the main process has
// ended. What the main process said stays the unit's status.
func Gone(doing string) error {
	return &command.QuietError{Err: fmt.Errorf("%s: %w", doing, ErrGone)}
}

// Watch returns a context that ends, with the cause ErrGone, as soon as the
// unit's main process does. Outside of systemd, or in a step that has no main
// process yet, it is just ctx. The returned function releases the watch.
func Watch(ctx context.Context, w command.World) (context.Context, context.CancelFunc, error) {
	watched, cancel := context.WithCancelCause(ctx)
	release := func() { cancel(nil) }
	pid, err := pid(ctx, w)
	if errors.Is(err, ErrGone) {
		cancel(ErrGone)
		return watched, release, nil
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	if pid == 0 {
		return watched, release, nil
	}
	main, err := process.Open(pid)
	if errors.Is(err, unix.ESRCH) {
		cancel(ErrGone)
		return watched, release, nil
	}
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("watch the main process of the unit: %w", err)
	}
	go func() {
		defer main.Close()
		if main.Wait(watched) == nil {
			cancel(ErrGone)
		}
	}()
	return watched, release, nil
}

// Check returns ErrGone when the unit has lost its main process, and ErrStopping
// when it is about to.
func Check(ctx context.Context, w command.World) error {
	pid, err := environmentPID(w)
	if err != nil {
		return err
	}
	// systemd ends the commands that it has started, but still starts the next one if
	// they ended well.
	state, err := ownState(ctx, w)
	switch {
	case err != nil:
		return err
	case pid == 0 && state == startPost:
		return ErrGone
	case ctx.Err() != nil || strings.HasPrefix(state, "stop-sig") || state == "stop-watchdog":
		return ErrStopping
	case pid == 0:
		return nil
	}
	main, err := process.Open(pid)
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("look at the main process of the unit: %w", err)
	}
	return main.Close()
}

// startPost and stop are the states in which systemd runs ExecStartPost= and ExecStop=
// commands. $MAINPID is also unset before the main process exists, and in the main
// process itself; only in these states does that mean that it has ended.
const (
	startPost = "start-post"
	stop      = "stop"
)

// pid returns the main process of the unit, 0 when there is none to watch, and
// ErrGone when there should be one.
func pid(ctx context.Context, w command.World) (int, error) {
	pid, err := environmentPID(w)
	if err != nil || pid != 0 {
		return pid, err
	}
	state, err := ownState(ctx, w)
	switch {
	case err != nil:
		return 0, err
	case state == startPost:
		return 0, ErrGone
	case state != stop:
		return 0, nil
	}
	var remains bool
	err = systemd.Patiently(ctx, func() (err error) {
		remains, err = systemd.Remains(ctx, os.Getpid())
		return err
	})
	if err == nil && !remains {
		err = ErrGone
	}
	return 0, err
}

// environmentPID returns the main process that systemd names to a command, 0 when it
// names none.
func environmentPID(w command.World) (int, error) {
	value := w.Getenv("MAINPID")
	if value == "" {
		return 0, nil
	}
	pid, err := strconv.Atoi(value)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("MAINPID: not a process id (got %q)", value)
	}
	return pid, nil
}

// ownState returns the state of the unit that this process is a command of, empty when
// systemd did not start it.
func ownState(ctx context.Context, w command.World) (state string, err error) {
	if w.Getenv("SYSTEMD_EXEC_PID") != strconv.Itoa(os.Getpid()) {
		return "", nil
	}
	// Also after SIGTERM: whether the unit is being stopped is what it asks.
	ctx = context.WithoutCancel(ctx)
	err = systemd.Patiently(ctx, func() error {
		state, err = systemd.SubState(ctx, os.Getpid())
		return err
	})
	return state, err
}
