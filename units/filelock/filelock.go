// Package filelock waits for the lock on a file (flock), and says who holds it when
// that takes long.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Patience is how long a wait for a lock lasts before it is worth a message.
const Patience = 10 * time.Second

// A Waiter waits for a lock, perhaps on one file after another.
type Waiter struct {
	waiting func(holder string)
	began   time.Time
	told    bool
	open    func(path string, flag int, mode fs.FileMode) (*os.File, error)
}

// NewWaiter returns a Waiter whose time begins now. After Patience, waiting is told
// once who holds the lock, unless it is nil.
func NewWaiter(waiting func(holder string)) *Waiter {
	return &Waiter{waiting: waiting, began: time.Now(), told: waiting == nil, open: os.OpenFile}
}

// Lock waits for the lock on a file until ctx ends; the error says who holds it then. It
// polls: a thread that waited in the kernel could not be called back.
func (w *Waiter) Lock(ctx context.Context, file *os.File) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		case !w.told && time.Since(w.began) >= Patience:
			w.told = true
			w.waiting(holder(file.Name()))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s, which %s holds: %w", file.Name(), holder(file.Name()), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Open opens the file at a path and waits for the lock on it; closing the file gives the
// lock back. A file that is not there yet is made, for root alone: a user who can open it can
// hold the lock. The holder may remove it. On a read-only file system, one that is there
// can be locked.
func (w *Waiter) Open(ctx context.Context, path string) (*os.File, error) {
	const flags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	for {
		file, err := w.open(path, os.O_RDWR|os.O_CREATE|flags, 0o600)
		if errors.Is(err, syscall.EROFS) {
			if there, absent := w.open(path, os.O_RDONLY|flags, 0); absent == nil {
				file, err = there, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := w.Lock(ctx, file); err != nil {
			file.Close()
			return nil, err
		}
		if IsAt(file, path) {
			return file, nil
		}
		file.Close() // it was removed while this waited for it
	}
}

// IsAt reports whether an open file is still the one at the path.
func IsAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// holder names the process that holds the lock on a file.
func holder(path string) string {
	var stat syscall.Stat_t
	if syscall.Lstat(path, &stat) != nil {
		return "another process"
	}
	locks, _ := os.ReadFile("/proc/locks")
	pid := lockHolder(string(locks), stat.Ino)
	if pid == "" {
		return "another process"
	}
	comm, _ := os.ReadFile("/proc/" + pid + "/comm")
	return strings.TrimSpace(fmt.Sprintf("process %s %s", pid, quoteCommand(string(comm))))
}

// quoteCommand returns the name of a command in brackets. A process chooses its
// own name.
func quoteCommand(comm string) string {
	comm = strings.TrimSuffix(comm, "\n")
	if comm == "" || strings.ContainsFunc(comm, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ""
	}
	return "(" + comm + ")"
}

// lockHolder returns the process that has a lock on the file with that inode number,
// according to /proc/locks. Lines with an arrow belong to those that wait. The device is
// not compared: some file systems show another one there.
func lockHolder(locks string, inode uint64) string {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", inode)) && f[4] != "-1" && f[4] != "0" {
			return f[4]
		}
	}
	return ""
}
