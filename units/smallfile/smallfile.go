// Package smallfile reads and creates files of a few kilobytes with no more
// system calls than that takes. A generator does little else, and every reload of
// the host waits for it; package os also prepares each file for waiting on it.
package smallfile

import (
	"errors"
	"io/fs"
	"syscall"
)

// Errors of what is no small file. They are wrapped in a *fs.PathError.
var (
	ErrIrregular = errors.New("is not a regular file")
	ErrTooLarge  = errors.New("is too large")
)

// Read returns the content of a regular file of at most that many bytes. It follows
// no link in the last place of the path, and never waits, as opening a FIFO or
// a device might. The error is a *fs.PathError.
func Read(path string, most int) ([]byte, error) {
	fd, err := open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	switch {
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENXIO): // a link; a socket
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrIrregular}
	case err != nil:
		return nil, err
	}
	defer syscall.Close(fd)
	var stat syscall.Stat_t
	switch err := syscall.Fstat(fd, &stat); {
	case err != nil:
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	case stat.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrIrregular}
	case stat.Size > int64(most):
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	content := make([]byte, 0, stat.Size+1)
	for {
		n, err := syscall.Read(fd, content[len(content):cap(content)])
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return content, nil
		default:
			content = content[:len(content)+n]
			if len(content) > most { // it grows
				return nil, &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
			}
			if len(content) == cap(content) {
				content = append(content, 0)[:len(content)]
			}
		}
	}
}

// Create writes a file that must not exist yet, and leaves none behind when it
// fails. The error is a *fs.PathError; it is fs.ErrExist when there is a file.
func Create(path string, content []byte, mode uint32) error {
	fd, err := open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, mode)
	if err != nil {
		return err
	}
	for len(content) > 0 && err == nil {
		var n int
		if n, err = syscall.Write(fd, content); errors.Is(err, syscall.EINTR) {
			n, err = 0, nil
		}
		content = content[max(n, 0):]
	}
	if closeErr := syscall.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		syscall.Unlink(path)
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func open(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, mode)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
