package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/units/name"
)

// turns limits how many runners start at once. A runner that starts has a file of
// its name in the folder; the last step of the start, or of the stop after it,
// removes it. What was killed leaves its file behind, so a unit that no longer
// starts loses it to one that waits.
type turns struct {
	folder string
	limit  int
}

func (r rollout) turns() *turns {
	return &turns{folder: filepath.Join(r.store.Run, ".starts"), limit: r.starts}
}

// lookForStale is how often one of those that wait looks for such files.
const lookForStale = 3 * time.Second

// due reports whether it is time to look for stale turns.
func (t *turns) due() bool {
	info, err := os.Stat(t.looked())
	return err != nil || time.Since(info.ModTime()).Abs() >= lookForStale
}

// looked is the file that was last modified when one of those that wait last looked for
// stale turns.
func (t *turns) looked() string { return filepath.Join(t.folder, ".looked") }

// take takes a turn for a unit and reports whether there was one. stale returns those of
// the units that are not in their start.
func (t *turns) take(unit string, stale func(units []string) ([]string, error)) (bool, error) {
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return false, fmt.Errorf("take a turn: %w", err)
	}
	full, err := t.full(unit)
	if err == nil && full && t.due() {
		if err := t.removeStale(unit, stale); err != nil {
			return false, err
		}
		full, err = t.full(unit)
	}
	if err != nil || full {
		return false, err
	}
	lock, err := os.OpenFile(filepath.Join(t.folder, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("take a turn: %w", err)
	}
	defer lock.Close()
	// It is held only as long as it takes to list a folder and make a file; a later try
	// will do.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return false, fmt.Errorf("take a turn: %w", err)
	}
	if full, err := t.full(unit); err != nil || full {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(t.folder, unit), nil, 0o600); err != nil {
		return false, fmt.Errorf("take a turn: %w", err)
	}
	return true, nil
}

// others returns the units other than one that have a turn.
func (t *turns) others(unit string) (units []string, err error) {
	entries, err := os.ReadDir(t.folder)
	if err != nil {
		return nil, fmt.Errorf("take a turn: %w", err)
	}
	for _, entry := range entries {
		if name := entry.Name(); name != unit && !strings.HasPrefix(name, ".") {
			units = append(units, name)
		}
	}
	return units, nil
}

// full reports whether there is no turn for a unit. One turn of another revision of its
// service does not count: that one may hold it until it has proved to be unhealthy, and
// this one may be what mends it.
func (t *turns) full(unit string) (bool, error) {
	others, err := t.others(unit)
	taken := len(others)
	if slices.ContainsFunc(others, func(other string) bool { return replaces(unit, other) }) {
		taken--
	}
	return taken >= t.limit, err
}

// replaces reports whether two units are runners of different revisions of a service.
func replaces(unit, other string) bool {
	one, err := name.ParseUnit(unit)
	two, otherErr := name.ParseUnit(other)
	return err == nil && otherErr == nil && one.Service == two.Service && one.Rev != two.Rev
}

// removeStale takes the turns of units that do not start.
func (t *turns) removeStale(unit string, stale func(units []string) ([]string, error)) error {
	// First, so that of many that wait hardly more than one asks.
	if err := os.WriteFile(t.looked(), nil, 0o600); err != nil {
		return fmt.Errorf("take a turn: %w", err)
	}
	others, err := t.others(unit)
	if err != nil {
		return err
	}
	others, err = stale(others)
	for _, other := range others {
		t.release(other)
	}
	return err
}

// release gives the turn of a unit back. If that fails, it is found to be stale.
func (t *turns) release(unit string) { _ = os.Remove(filepath.Join(t.folder, unit)) }
