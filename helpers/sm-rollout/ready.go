package main

import (
	"context"
	"errors"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/name"
)

// A new revision becomes good when as many of its replicas serve as should. Until then
// each one that does has a file that says so, from its accept until it has ended.

func (r rollout) ready(runner name.Runner) mark {
	return r.mark(runner, ".ready", "serves")
}

// forgetReady removes the marks of all runners of a revision.
func (r rollout) forgetReady(revision name.Revision) error {
	var problems []error
	for _, runner := range revision.Runners(name.MaxReplicas) {
		_, err := r.ready(runner).clear()
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// countReady returns how many replicas of a new revision serve, including the given one.
func (r rollout) countReady(ctx context.Context, conn systemdConn, runner name.Runner, replicas int) (int, error) {
	units, err := conn.Runners(ctx, runner.Service)
	if err != nil {
		return 0, err
	}
	n := 1
	for _, other := range runner.Revision.Runners(replicas) {
		ready, err := r.ready(other).isSet()
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
