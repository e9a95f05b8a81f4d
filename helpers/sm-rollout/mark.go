package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"service-manager/units/name"
)

// A mark is an empty file that says something about a runner, or about its revision, as
// long as it exists.
type mark struct {
	path string
	of   fmt.Stringer
	says string // after "it", in messages
}

// mark returns the mark of a runner whose file has that suffix.
func (r rollout) mark(runner name.Runner, suffix, says string) mark {
	return mark{filepath.Join(r.store.Run, string(runner.Service), runner.Mark()+suffix), runner, says}
}

func (m mark) set() error {
	err := os.MkdirAll(filepath.Dir(m.path), 0o700)
	if err == nil {
		err = os.WriteFile(m.path, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%s: note that it %s: %w", m.of, m.says, err)
	}
	return nil
}

func (m mark) isSet() (bool, error) {
	_, err := os.Stat(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// clear removes the mark, and reports whether it was there.
func (m mark) clear() (was bool, err error) {
	err = os.Remove(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: note that it has ended: %w", m.of, err)
	}
	return true, nil
}
