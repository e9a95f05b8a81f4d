package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// reject is for a runner that has ended. It records a failed start. A good revision
// is started again instead, however it has ended, unless it is being stopped. What
// fails because it is being stopped, or because the host fails, is not rejected.
func (r rollout) reject(ctx context.Context, runner name.Runner) error {
	result := r.w.Getenv("SERVICE_RESULT")
	if result == "" {
		return fmt.Errorf("%s: SERVICE_RESULT is not set; reject is for ExecStopPost= lines of a unit", runner)
	}
	unit := runner.Unit()
	r.turns().release(unit)
	alone, err := r.alone(runner.Revision).isSet()
	if err != nil {
		return err
	}
	ready, err := r.ready(runner).clear()
	if err != nil {
		return err
	}
	if result == "success" && !alone && !ready {
		// The usual end of a revision that has been replaced.
		good, err := r.store.Good(runner.Service)
		current, currentErr := r.store.Current(runner.Service)
		if err := errors.Join(err, currentErr); err != nil || runner.Rev != good && runner.Rev != current {
			return err
		}
	}
	unlock, err := r.lock(ctx, runner.Service)
	if err != nil {
		return err
	}
	defer unlock()
	return r.ask(ctx, fmt.Sprintf("%s: not rejected", runner), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, runner.Service)
		if err != nil {
			return err
		}
		if s.watchOutage(unit) {
			if err := watchOutage(ctx, conn, runner.Service); err != nil {
				return err
			}
		}
		e, err := r.ending(ctx, conn, s, runner, result)
		if err != nil {
			return err
		}
		e.alone, e.ready = alone, ready
		err = errors.Join(r.carryOut(ctx, conn, s, runner, e), r.giveBack(ctx, conn, s, runner.Revision))
		if err == nil { // otherwise settle has to see that it ran alone
			_, err = r.alone(runner.Revision).clear()
		}
		return err
	})
}

// ending returns how a runner has ended.
func (r rollout) ending(ctx context.Context, conn systemdConn, s scene, runner name.Runner, result string) (e ending, err error) {
	one, ok := s.RunnerOf(runner.Unit())
	if !ok {
		if one.Unit, err = conn.State(ctx, runner.Unit()); err != nil {
			return e, err
		}
	}
	job := one.Unit.JobType
	e = ending{result: result, failures: r.pace(runner).failures,
		stopped: job == "stop" && !one.Rejected, restarted: job == "restart" || job == "try-restart"}
	e.stopRequested = job == "stop" || e.restarted
	if runner.Rev == s.Good && s.serveBeside(runner) >= s.Replicas {
		served, err := r.served(ctx, conn, runner.Unit())
		if err != nil {
			return e, err
		}
		e.beside, e.served = true, served > 0
	}
	if !e.stopRequested {
		// Its start may have been ended because another runner of its revision failed.
		retires, err := conn.State(ctx, name.Retire(runner.Unit()))
		if err != nil {
			return e, err
		}
		e.stopRequested = systemd.Busy(retires)
	}
	if e.restarts, err = conn.RestartsByItself(ctx, runner.Unit()); err != nil {
		return e, err
	}
	exits, err := conn.Exits(ctx, runner.Unit())
	if err != nil {
		return e, err
	}
	if e.hostFailed, err = hostFailed(ctx, conn, runner.Unit(), exits); err != nil {
		return e, err
	}
	// A step of this program only waits: for a turn, say, or for another revision.
	waited := result == "timeout" && slices.ContainsFunc(exits, func(exit systemd.Exit) bool {
		return exit.Command == "sm-rollout" && exit.Status == -int(unix.SIGTERM)
	})
	e.hostFailed = e.hostFailed || waited || r.w.Getenv("EXIT_STATUS") == strconv.Itoa(command.TempFail)
	for _, exit := range exits {
		e.killed = e.killed || exit.Status == -int(unix.SIGKILL)
		if e.first == "" && exit.Status != 0 {
			e.first = exit.Command
		}
	}
	return e, nil
}

// hostFailed reports whether the host is why a runner's start failed: a step said that it
// lacked something, or Docker was stopped, which ends the containers without a word.
func hostFailed(ctx context.Context, conn systemdConn, unit string, exits []systemd.Exit) (bool, error) {
	if slices.ContainsFunc(exits, func(exit systemd.Exit) bool { return exit.Status == command.TempFail }) {
		return true, nil
	}
	runner, err := conn.Activity(ctx, unit)
	if err != nil {
		return false, err
	}
	docker, err := conn.Activity(ctx, dockerUnit)
	return docker.Ended > runner.Began, err
}

// carryOut does what is decided about a runner that has ended.
func (r rollout) carryOut(ctx context.Context, conn systemdConn, s scene, runner name.Runner, e ending) error {
	unit := runner.Unit()
	plan := planReject(runner.Rev, s.Good, s.Current, e)
	switch {
	case plan.keep:
		// settle counts how often it has done that.
	case !plan.count:
		r.forgetPace(runner)
	default:
		served, err := r.served(ctx, conn, unit)
		if err != nil {
			return err
		}
		if err := r.countFailure(runner, served); err != nil {
			return err
		}
	}
	if plan.reject {
		reason, err := r.reason(ctx, conn, unit, e)
		if err != nil {
			return err
		}
		if err := r.rejectRevision(ctx, conn, runner, reason); err != nil {
			return err
		}
		r.w.Notify.Status("rejected: %s", reason)
	}
	if plan.note {
		if err := r.stopped(runner).set(); err != nil {
			return err
		}
	}
	if plan.abandon {
		return abandon(ctx, conn, s, runner)
	}
	if plan.stop {
		return conn.Stop(ctx, unit)
	}
	if plan.start {
		_, err := conn.Start(ctx, unit)
		return err
	}
	return nil
}

// rejectRevision records why a revision has failed, and stops whatever else is not good:
// one failed runner ends the rollout.
func (r rollout) rejectRevision(ctx context.Context, conn systemdConn, runner name.Runner, reason string) error {
	if runner.Number > 1 {
		reason = fmt.Sprintf("replica %d: %s", runner.Number, reason)
	}
	if err := r.store.SetFailed(runner.Revision, reason); err != nil {
		return err
	}
	return r.retireBeside(ctx, conn, runner)
}

// served returns how long a runner that is ending has served in this start.
func (r rollout) served(ctx context.Context, conn systemdConn, unit string) (time.Duration, error) {
	a, err := conn.Activity(ctx, unit)
	if err != nil || a.Active < a.Began || a.Active == 0 {
		return 0, err
	}
	return a.Ended - a.Active, nil
}

// reason returns why a unit failed: what the step that failed first said, or else what
// systemd says, and which field of the definition may mend it, if one may.
func (r rollout) reason(ctx context.Context, conn systemdConn, unit string, e ending) (string, error) {
	said, err := conn.StatusText(ctx, unit)
	if err != nil {
		return "", err
	}
	verdict := e.result
	if code := r.w.Getenv("EXIT_CODE"); code != "" {
		// What failed may be a step that came after it.
		verdict = fmt.Sprintf("%s; main process %s %s", e.result, code, r.w.Getenv("EXIT_STATUS"))
	}
	switch {
	case said == "":
		return verdict + e.hint(), nil
	case killed(e.result):
		// It had no time to say why: the status is from before.
		return fmt.Sprintf("a helper was killed after \"%s\" (%s)", said, verdict), nil
	}
	return fmt.Sprintf("%s (%s)%s", said, verdict, e.hint()), nil
}

// killed reports whether a unit's result says that one of its processes was killed.
func killed(result string) bool {
	return result == "signal" || result == "core-dump" || result == "oom-kill"
}

// hint returns which field gives more time to a step that had too little.
func (e ending) hint() string {
	switch {
	case e.result == "timeout":
		return "; start_timeout gives it more time"
	case e.result == "exit-code" && e.first == "sm-healthcheck":
		return "; health_check.timeout gives it more time"
	}
	return ""
}
