package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Inheritable returns a descriptor of the process that stays open in a program
// that this one executes, for Inherited there. The caller closes it.
func (p *Process) Inheritable() (int, error) {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := conn.Control(func(own uintptr) { fd, dupErr = unix.Dup(int(own)) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// Inherited returns a handle on the process that a descriptor from Inheritable
// stands for, and owns that descriptor.
func Inherited(fd int) (*Process, error) {
	// Of all descriptors, only that of a process takes a signal; EPERM says that this
	// user may not send it one.
	switch err := unix.PidfdSendSignal(fd, 0, nil, 0); err {
	case nil, unix.ESRCH, unix.EPERM:
	default:
		return nil, fmt.Errorf("descriptor %d is not a process: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	return &Process{os.NewFile(uintptr(fd), "pidfd")}, nil
}
