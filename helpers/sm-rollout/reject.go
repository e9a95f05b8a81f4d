package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/units/name"
)

// reject is for a runner that has ended. It records a failed start. A good revision
// is started again instead, however it has ended, unless it is being stopped. What
// fails because it is being stopped, or because the host fails, is not rejected.
func (r rollout) reject(ctx context.Context, revision name.Revision) error {
	result := r.w.Getenv("SERVICE_RESULT")
	if result == "" {
		return fmt.Errorf("%s: SERVICE_RESULT is not set; reject is for ExecStopPost= lines of a unit", revision)
	}
	unit := revision.Unit()
	r.turns().release(unit)
	alone, err := r.isAlone(revision)
	if err != nil {
		return err
	}
	if result == "success" && !alone {
		// The usual end of a revision that has been replaced.
		if good, err := r.store.Good(revision.Service); err != nil || revision.Rev != good {
			return err
		}
	}
	unlock, err := r.lock(ctx, revision.Service)
	if err != nil {
		return err
	}
	defer unlock()
	return r.ask(ctx, fmt.Sprintf("%s: not rejected", revision), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, revision.Service)
		if err != nil {
			return err
		}
		if s.watchOutage(revision.Rev) {
			if err := watchOutage(ctx, conn, revision.Service); err != nil {
				return err
			}
		}
		e, err := r.ending(ctx, conn, s, revision, result)
		if err != nil {
			return err
		}
		e.alone = alone
		return errors.Join(r.carryOut(ctx, conn, s, revision, e), r.giveBack(ctx, conn, s, revision))
	})
}

// ending returns how a runner has ended.
func (r rollout) ending(ctx context.Context, conn systemdConn, s scene, revision name.Revision, result string) (e ending, err error) {
	one, ok := s.Runner(revision.Rev)
	if !ok {
		if one.Unit, err = conn.State(ctx, revision.Unit()); err != nil {
			return e, err
		}
	}
	job := one.Unit.JobType
	e = ending{result: result, failures: r.pace(revision).failures,
		stopRequested: job == "stop" || job == "restart" || job == "try-restart"}
	if e.restarts, err = conn.RestartsByItself(ctx, revision.Unit()); err != nil {
		return e, err
	}
	exits, err := conn.Exits(ctx, revision.Unit())
	e.hostFailed = r.w.Getenv("EXIT_STATUS") == strconv.Itoa(command.TempFail)
	for _, exit := range exits {
		e.hostFailed = e.hostFailed || exit.Status == command.TempFail
		e.killed = e.killed || exit.Status == -int(unix.SIGKILL)
		if e.first == "" && exit.Status != 0 {
			e.first = exit.Command
		}
	}
	return e, err
}

// carryOut does what is decided about a runner that has ended.
func (r rollout) carryOut(ctx context.Context, conn systemdConn, s scene, revision name.Revision, e ending) error {
	unit := revision.Unit()
	plan := planReject(revision.Rev, s.Good, s.Current, e)
	if !plan.count {
		r.forgetPace(revision)
	} else {
		served, err := r.served(ctx, conn, unit)
		if err != nil {
			return err
		}
		if err := r.countFailure(revision, served); err != nil {
			return err
		}
	}
	if plan.reject {
		reason, err := r.reason(ctx, conn, unit, e)
		if err != nil {
			return err
		}
		if err := r.store.SetFailed(revision, reason); err != nil {
			return err
		}
		r.w.Notify.Status("rejected: %s", reason)
	}
	if plan.start {
		_, err := conn.Start(ctx, unit)
		return err
	}
	return nil
}

// served returns how long a runner that ends now has served in this start.
func (r rollout) served(ctx context.Context, conn systemdConn, unit string) (time.Duration, error) {
	a, err := conn.Activity(ctx, unit)
	if err != nil || a.Active.Before(a.Began) || a.Active.IsZero() {
		return 0, err
	}
	return a.Ended.Sub(a.Active), nil
}

// reason returns why a unit failed: what the step that failed first said, or else
// what systemd says, and where a field of the definition may mend it, which.
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
	case e.result == "signal", e.result == "core-dump", e.result == "oom-kill":
		// It had no time to say why: the status is from before.
		return fmt.Sprintf("a helper was killed after \"%s\" (%s)", said, verdict), nil
	}
	return fmt.Sprintf("%s (%s)%s", said, verdict, e.hint()), nil
}

// hint returns which field gives a step more time that had too little.
func (e ending) hint() string {
	switch {
	case e.result == "timeout":
		return "; start_timeout gives it longer"
	case e.result == "exit-code" && e.first == "sm-healthcheck":
		return "; health_check.timeout gives it longer"
	}
	return ""
}
