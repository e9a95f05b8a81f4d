// Package smallfile reads and creates files of a few kilobytes with no more
// system calls than that takes. A generator does little else, and every reload of
// the host waits for it; package os also prepares each file for waiting on it.
package smallfile

import (
	"errors"
	"io/fs"
	"syscall"
)

// Read returns the content of a file. The error is a *fs.PathError.
func Read(path string) ([]byte, error) {
	fd, err := open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	content := make([]byte, 0, 1<<10)
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
