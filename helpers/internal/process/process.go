// Package process deals with processes that are not children of this one: a
// unit's main process, a container's first process.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a handle on a process that stays with it even when its id is used
// again.
type Process struct{ pidfd *os.File }

// Open returns a handle on the process with that id. The error is unix.ESRCH
// when there is none.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if pid > 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)) {
		err = unix.ESRCH // by now the id is that of another process's thread
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Process{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// ErrElsewhere says that a process does not belong to a container.
var ErrElsewhere = errors.New("it is not in the control group of container")

// OpenIn returns a handle on the process with that id if it is in the control group of a
// container. The error is unix.ESRCH when there is no such process, and ErrElsewhere when
// it is not in the group: by now the id may be another process's, or it may come from
// another PID namespace.
func OpenIn(pid int, container string) (*Process, error) {
	p, err := Open(pid)
	if err != nil {
		return nil, err
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		err = unix.ESRCH
	case err == nil && !bytes.Contains(cgroup, []byte(container)):
		err = fmt.Errorf("%w %s", ErrElsewhere, container)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return p, nil
}

// Wait returns nil once the process has ended, or the cause of ctx when that
// ends first.
func (p *Process) Wait(ctx context.Context) error {
	broken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(broken)
		p.pidfd.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-broken
			p.pidfd.SetReadDeadline(time.Time{}) // for the next Wait
		}
	}()
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	// The descriptor becomes readable when the process ends; the runtime's poller
	// waits for that without a thread of its own.
	err = conn.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(fds, 0)
		return n > 0
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return true
	}
	n := 0
	err = conn.Control(func(fd uintptr) { n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) })
	return err != nil || n > 0
}

// Signal sends a signal to the process. The error is unix.ESRCH when it has ended.
func (p *Process) Signal(signal unix.Signal) error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = conn.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	return errors.Join(err, sendErr)
}

// Program returns the name of the program that a process runs, empty when there is
// no such process. The kernel cuts it to 15 bytes.
func Program(pid int) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSuffix(string(comm), "\n")
}

// Close releases the handle; the process is not affected.
func (p *Process) Close() error { return p.pidfd.Close() }
