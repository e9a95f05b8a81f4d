package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/name"
)

// A new revision becomes good when as many replicas of it serve as it is to have. Until
// then each of those that do has a file that says so, from its accept until it has ended.

func (r rollout) readyPath(runner name.Runner) string {
	return filepath.Join(r.store.Run, string(runner.Service), runner.Mark()+".ready")
}

// setReady notes that a runner serves.
func (r rollout) setReady(runner name.Runner) error {
	path := r.readyPath(runner)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%s: note that it serves: %w", runner, err)
	}
	return nil
}

func (r rollout) isReady(runner name.Runner) (bool, error) {
	_, err := os.Stat(r.readyPath(runner))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// clearReady takes that note back, and reports whether it was there.
func (r rollout) clearReady(runner name.Runner) (was bool, err error) {
	err = os.Remove(r.readyPath(runner))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: note that it has ended: %w", runner, err)
	}
	return true, nil
}

// forgetReady takes the notes of all runners of a revision back.
func (r rollout) forgetReady(revision name.Revision) error {
	var problems []error
	for number := range name.MaxReplicas {
		_, err := r.clearReady(revision.Runner(number + 1))
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// countReady returns how many replicas of a new revision serve, the given one among them.
func (r rollout) countReady(ctx context.Context, conn systemdConn, runner name.Runner, replicas int) (int, error) {
	units, err := conn.Runners(ctx, runner.Service)
	if err != nil {
		return 0, err
	}
	n := 1
	for number := 1; number <= replicas; number++ {
		other := runner.Revision.Runner(number)
		ready, err := r.isReady(other)
		if err != nil {
			return 0, err
		}
		stays := slices.ContainsFunc(units, func(u dbus.UnitStatus) bool {
			return u.Name == other.Unit() && (u.ActiveState == "active" || u.ActiveState == "activating") && u.JobType != "stop"
		})
		if other != runner && ready && stays {
			n++
		}
	}
	return n, nil
}
