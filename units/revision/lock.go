package revision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"service-manager/units/filelock"
	"service-manager/units/name"
)

// Revisions and records are for root alone: a definition may hold secrets, and
// a user who can open a file can hold a lock on it.
const (
	folderMode = 0o700
	fileMode   = 0o600
)

const lockPrefix = ".lock-"

func (s Store) lockPath(service name.Service) string {
	return filepath.Join(s.Root, lockPrefix+string(service))
}

// Lock keeps everyone else from changing the links of a service until unlock is
// called. It waits until the context ends; waiting, if not nil, is told once who
// holds the lock when that takes long.
func (s Store) Lock(ctx context.Context, service name.Service, waiting func(holder string)) (unlock func(), err error) {
	if err := makeFolder(s.Root); err != nil {
		return nil, fmt.Errorf("%s: lock: %w", service, err)
	}
	file, err := filelock.NewWaiter(waiting).Open(ctx, s.lockPath(service))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", service, err)
	}
	return func() { s.unlock(file, service) }, nil
}

// unlock gives a lock back. The file of a service that is gone goes too; those who
// wait for it notice.
func (s Store) unlock(file *os.File, service name.Service) {
	if _, err := os.Lstat(filepath.Join(s.Root, string(service))); errors.Is(err, fs.ErrNotExist) && filelock.IsAt(file, s.lockPath(service)) {
		_ = os.Remove(s.lockPath(service)) // the next run cleans up
	}
	file.Close()
}

// makeFolder makes a folder that only root can read, and takes the permissions of
// others from one that is there.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return err
	}
	return tighten(path, folderMode)
}

// tighten takes permissions beyond mode from a file or folder.
func tighten(path string, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone meanwhile
	}
	if err != nil || info.Mode()&fs.ModeSymlink != 0 || info.Mode().Perm()&^mode == 0 {
		return err
	}
	return os.Chmod(path, info.Mode().Perm()&mode)
}

// tightenAll takes permissions from what earlier releases have left readable: a
// folder and the files in it.
func tightenAll(dir string) error {
	problems := []error{tighten(dir, folderMode)}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			problems = append(problems, tighten(filepath.Join(dir, entry.Name()), fileMode))
		}
	}
	return errors.Join(problems...)
}
