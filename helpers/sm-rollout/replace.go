package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// replace is for a revision that must not run beside another. Before its container
// starts, it makes clients wait, and stops the other runners of the service. If the
// revision never becomes good, reject starts the good one again.
func (r rollout) replace(ctx context.Context, runner name.Runner) error {
	revision := runner.Revision
	extending, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.keepExtending(extending)
	replaces, err := r.takePlace(ctx, revision)
	if err != nil || !replaces {
		return err
	}
	stopping := false
	err = r.ask(ctx, fmt.Sprintf("%s: the others are not stopped", revision), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, revision.Service)
		if err != nil {
			return err
		}
		if s.MayServe(runner.Unit()) {
			if err := startHold(ctx, conn, revision.Service); err != nil {
				return fmt.Errorf("%s: clients cannot be kept waiting: %w", revision, err)
			}
		}
		stopping = true
		// A newer revision is about to stop this one.
		stays := func(rev name.Rev) bool {
			current, err := r.store.Current(revision.Service)
			return rev == revision.Rev || err == nil && rev == current
		}
		err = conn.StopRunners(ctx, revision.Service, stays, func(stopping []string) {
			r.w.Notify.Status("stopping %s", strings.Join(stopping, ", "))
		})
		if err != nil {
			return err
		}
		current, err := r.store.Current(revision.Service)
		if err == nil && current != revision.Rev {
			err = fmt.Errorf("%s: not started: %s has become current", revision, current)
		}
		if err != nil {
			return err
		}
		left, err := r.leftBehind(ctx, conn, runner)
		if err == nil && left != "" {
			err = hint.Add(fmt.Errorf("%s: not started: container %s runs although its unit has stopped", revision, left), "run docker rm -f %s", left)
		}
		return err
	})
	if err != nil && !stopping {
		// No other runner was stopped, so another try costs nothing.
		err = &command.HostError{Err: errors.Join(err, r.givePlaceUp(context.WithoutCancel(ctx), revision))}
	}
	return err
}

// givePlaceUp undoes what a revision has done to replace the others, before it stops any.
func (r rollout) givePlaceUp(ctx context.Context, revision name.Revision) error {
	err := r.ask(ctx, fmt.Sprintf("%s: clients may still be kept waiting", revision), func(conn systemdConn) error {
		return endHold(ctx, conn, revision.Service)
	})
	if err == nil { // otherwise reject tries again
		_, err = r.alone(revision).clear()
	}
	return err
}

// leftBehind returns a container of another runner of the service that runs although its
// unit has stopped, which may have happened when Docker could not end it; empty when there
// is none. What must not run twice must not run beside it.
func (r rollout) leftBehind(ctx context.Context, conn systemdConn, runner name.Runner) (container string, err error) {
	// What is noted of another service, and cannot be read, must not be in the way.
	containers, _ := running.Folder(filepath.Join(r.store.Run, filepath.Base(string(running.Host)))).All()
	for _, c := range containers {
		other, err := name.ParseUnit(c.Unit)
		if err != nil || other.Service != runner.Service || other == runner {
			continue
		}
		lives, err := r.lives(c)
		if err != nil {
			return "", &command.HostError{Err: fmt.Errorf("%s: not started: look whether container %s runs: %w", runner, c.Name, err)}
		}
		if !lives {
			continue
		}
		if unit, err := conn.State(ctx, c.Unit); err != nil || !systemd.Live(unit) {
			return c.Name, err
		}
	}
	return "", nil
}

// takePlace decides whether a revision replaces the others, and notes that it does. The
// lock keeps another one from becoming current meanwhile.
func (r rollout) takePlace(ctx context.Context, revision name.Revision) (bool, error) {
	unlock, err := r.lock(ctx, revision.Service)
	if err != nil {
		return false, err
	}
	defer unlock()
	current, err := r.store.Current(revision.Service)
	if err != nil {
		return false, err
	}
	good, err := r.store.Good(revision.Service)
	switch {
	case err != nil:
		return false, err
	case revision.Rev == current:
		return true, r.alone(revision).set()
	case revision.Rev == good:
		// The current one has precedence: it stops this one when it is ready to.
		return false, nil
	}
	return false, hint.Add(fmt.Errorf("%s: not started: it would replace %s, which is current", revision, current), "edit the definition")
}

// startHold makes clients of a service wait, if it has a unit for that.
func startHold(ctx context.Context, conn systemdConn, service name.Service) error {
	state, err := conn.State(ctx, service.Hold())
	if err != nil || state.LoadState != "loaded" {
		return err
	}
	return conn.StartAndWait(ctx, service.Hold())
}

// endHold lets clients of a service continue.
func endHold(ctx context.Context, conn systemdConn, service name.Service) error {
	state, err := conn.State(ctx, service.Hold())
	if err != nil || state.ActiveState == "inactive" {
		return err
	}
	return conn.Stop(ctx, service.Hold())
}

// giveBack starts the good revision again after one that replaced it has ended without
// becoming good, unless yet another one has replaced it meanwhile. The mark that it ran
// alone stays. The lock must be held.
func (r rollout) giveBack(ctx context.Context, conn systemdConn, s scene, revision name.Revision) error {
	alone, err := r.alone(revision).isSet()
	if err != nil || !alone {
		return err
	}
	other, err := r.otherAlone(s, revision)
	if err != nil {
		return err
	}
	if s.Serves(revision.First().Unit()) {
		// It was never stopped, so no new destination will come.
		if err := endHold(ctx, conn, revision.Service); err != nil {
			return err
		}
	}
	if units := s.givenBack(revision.Rev); other == "" && len(units) > 0 {
		fmt.Fprintf(r.w.Stdout, "%s: starting %s again\n", revision, s.Good)
		for _, unit := range units {
			if err := conn.StartAgain(ctx, unit); err != nil {
				return err
			}
		}
	}
	return nil
}
