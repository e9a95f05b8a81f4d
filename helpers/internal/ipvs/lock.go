package ipvs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runFolder is where the helpers keep what is true until the next boot.
const runFolder = "/run/service-manager"

// lockFile keeps two helpers from changing virtual services at the same time:
// one removes a service that has become empty just as another adds to it.
const lockFile = runFolder + "/ipvs.lock"

// lock waits for the right to change virtual services. The returned function
// gives it back; so does the end of the process.
func lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(lockFile), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
			if err != unix.EINTR {
				locked <- err
				return
			}
		}
	}()
	select {
	case err = <-locked:
	case <-ctx.Done():
		// The goroutine keeps the file open; whoever was told to end ends soon.
		return nil, fmt.Errorf("lock %s: %w", lockFile, context.Cause(ctx))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", lockFile, err)
	}
	return func() { file.Close() }, nil
}
