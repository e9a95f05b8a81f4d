package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/units/name"
)

const startLost = "its start ended before sm-rollout accept; a reload changed its commands meanwhile, or a drop-in removes them"

// stopped is the mark of a runner that was stopped in its start, before its revision was
// good: systemd takes that for a failure of the unit.
func (r rollout) stopped(runner name.Runner) mark {
	return r.mark(runner, ".stopped", "was stopped")
}

// settle takes care of a runner whose start is over: by now it must have been accepted or
// rejected. It stays until one of these is the case: a start of this unit that comes with
// a further start of the runner means nothing to systemd while this one runs.
func (r rollout) settle(ctx context.Context, runner name.Runner) error {
	for {
		what, err := r.settleOnce(ctx, runner)
		if err != nil || what != again && what != starts && what != tryAgain {
			return err
		}
		if what != again && !sleep(ctx, time.Second) {
			return &command.SignalError{Signal: unix.SIGTERM}
		}
	}
}

// settleOnce looks, does one thing, and returns what it did.
func (r rollout) settleOnce(ctx context.Context, runner name.Runner) (what settlement, err error) {
	unlock, err := r.lock(ctx, runner.Service)
	if err != nil {
		return settled, err
	}
	defer unlock()
	unit := runner.Unit()
	err = r.ask(ctx, fmt.Sprintf("%s: neither accepted nor rejected", runner), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, runner.Service)
		if err != nil {
			return err
		}
		ready, err := r.ready(runner).isSet()
		if err != nil {
			return err
		}
		stopped, err := r.stopped(runner).isSet()
		if err != nil {
			return err
		}
		lacked, err := r.lacked(ctx, conn, s, runner)
		if err != nil {
			return err
		}
		what = s.planSettle(runner, r.pace(runner).failures, ready, stopped, lacked)
		if what == recordOnly || what == tidy {
			// reject has done that, unless it was killed.
			if err := r.giveBack(ctx, conn, s, runner.Revision); err != nil {
				return err
			}
			if _, err := r.alone(runner.Revision).clear(); err != nil {
				return err
			}
		}
		switch what {
		case again:
			fmt.Fprintf(r.w.Stdout, "%s: starting it again: %s\n", runner, startLost)
			if err := r.countFailure(runner, 0); err != nil {
				return err
			}
			return conn.Restart(ctx, unit)
		case tryAgain:
			_, err := conn.Start(ctx, unit)
			return err
		case retireIt:
			fmt.Fprintf(r.w.Stdout, "%s: stopping it: it was replaced while it started\n", runner)
			return conn.Stop(ctx, unit)
		case rejectIt:
			fmt.Fprintf(r.w.Stdout, "%s: rejected: %s\n", runner, startLost)
			if err := r.rejectRevision(ctx, conn, runner, startLost); err != nil {
				return err
			}
			return conn.Stop(ctx, unit)
		case recordOnly:
			reason, err := conn.StatusText(ctx, unit)
			if err != nil {
				return err
			}
			if reason == "" {
				reason = "failed without a word; see journalctl -u " + unit
			}
			return r.rejectRevision(ctx, conn, runner, reason)
		case tidy:
			_, err := r.ready(runner).clear()
			if one, ok := s.RunnerOf(unit); err == nil && ok && one.Rejected && one.Unit.ActiveState == "failed" {
				err = r.retireBeside(ctx, conn, runner) // reject may have been killed before it did
			}
			if stopped && err == nil {
				_, err = r.stopped(runner).clear()
				err = errors.Join(err, conn.ResetFailed(ctx, unit))
			}
			return errors.Join(err, r.store.ClearRecord(runner))
		}
		return nil
	})
	return what, err
}

// lacked reports whether a runner has failed for want of something of the host's, and
// another try would stop no other one.
func (r rollout) lacked(ctx context.Context, conn systemdConn, s scene, runner name.Runner) (bool, error) {
	if one, _ := s.RunnerOf(runner.Unit()); one.Unit.ActiveState != "failed" {
		return false, nil
	}
	alone, err := r.alone(runner.Revision).isSet()
	if err != nil || alone && s.Good != "" {
		return false, err
	}
	exits, err := conn.Exits(ctx, runner.Unit())
	if err != nil {
		return false, err
	}
	return hostFailed(ctx, conn, runner.Unit(), exits)
}
