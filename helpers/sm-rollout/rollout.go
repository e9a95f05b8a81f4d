package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/mainprocess"
	"service-manager/helpers/internal/systemd"
	"service-manager/units"
	"service-manager/units/revision"
)

// systemdConn is what a rollout needs of systemd.
type systemdConn interface {
	RetireRunners(ctx context.Context, service, except string) error
	RetireOnceStarted(ctx context.Context, unit string) error
	StopRunners(ctx context.Context, service string, progress func(stopping []string)) error
	RestartsByItself(ctx context.Context, unit string) (bool, error)
	Restarting(ctx context.Context, unit string) (bool, error)
	CancelRestarts(ctx context.Context, service string) error
	StartWithoutWaiting(ctx context.Context, unit string) error
	StopRequested(ctx context.Context, unit string) (bool, error)
	StatusText(ctx context.Context, unit string) (string, error)
	io.Closer
}

func connect(ctx context.Context) (systemdConn, error) { return systemd.Connect(ctx) }

// rollout decides about revisions.
type rollout struct {
	w       command.World
	store   revision.Store
	connect func(context.Context) (systemdConn, error)
}

// accept makes the current revision the good one and retires all others. The
// lock keeps a newer revision from becoming current in between: its runner would
// be retired, too.
func (r rollout) accept(ctx context.Context, service, name string) error {
	unlock, err := r.lock(ctx, service)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := r.store.Current(service)
	if err != nil {
		return err
	}
	if name != current {
		return r.acceptReplaced(ctx, service, name, current)
	}
	serves := false
	err = r.ask(ctx, fmt.Sprintf("%s %s: not accepted", service, name), func(conn systemdConn) error {
		if !serves {
			// Not before: it may have taken long to reach systemd.
			if err := r.checkMain(ctx, service, name); err != nil {
				return err
			}
		}
		if err := r.store.SetGood(service, name); err != nil {
			return err
		}
		if err := r.store.ClearFailed(service, name); err != nil {
			return err
		}
		r.w.Notify.Status("%s", "serving")
		serves = true
		return conn.RetireRunners(ctx, service, units.RunnerUnit(service, name))
	})
	if err != nil && serves {
		// Others may have been told to stop already. To fail now would stop the one
		// that is left; a runner too many is retired with the next revision.
		fmt.Fprintf(r.w.Stderr, "%s %s: serves, but others may still run: %v; see systemctl status '%s@*'\n", service, name, err, service)
		return nil
	}
	return err
}

// lock takes the lock of a service, and says so when that takes long.
func (r rollout) lock(ctx context.Context, service string) (unlock func(), err error) {
	return r.store.Lock(ctx, service, func(holder string) {
		r.w.Notify.Status("waiting for the lock on the revisions of %s, which %s holds", service, holder)
	})
}

// checkMain returns an error when the unit's main process has ended, or is about to.
func (r rollout) checkMain(ctx context.Context, service, name string) error {
	err := mainprocess.Check(ctx, r.w)
	if errors.Is(err, mainprocess.ErrGone) {
		return mainprocess.Gone(fmt.Sprintf("%s %s: not accepted", service, name))
	}
	if err != nil {
		return fmt.Errorf("%s %s: not accepted: %w", service, name, err)
	}
	return nil
}

// ask connects to systemd for f, again when systemd has left meanwhile. The error
// of a connection begins with what comes of it.
func (r rollout) ask(ctx context.Context, consequence string, f func(systemdConn) error) error {
	return systemd.Patiently(ctx, func() error {
		conn, err := r.connect(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", consequence, err)
		}
		defer conn.Close()
		return f(conn)
	})
}

// acceptReplaced is for a revision that is not current. The good one serves until
// current does. Any other may have connections by now, which a failure would cut:
// it goes in order instead, or when that cannot be had, with the next revision.
func (r rollout) acceptReplaced(ctx context.Context, service, name, current string) error {
	if err := r.checkMain(ctx, service, name); err != nil {
		return err
	}
	good, err := r.store.Good(service)
	if err != nil {
		return err
	}
	if name == good {
		r.w.Notify.Status("%s", "serving")
		return nil
	}
	why := "deleted"
	if current != "" {
		why = "replaced by " + current
	}
	r.w.Notify.Status("stopping: %s while it started", why)
	err = r.ask(ctx, "not stopped", func(conn systemdConn) error {
		return conn.RetireOnceStarted(ctx, units.RunnerUnit(service, name))
	})
	if err != nil {
		fmt.Fprintf(r.w.Stderr, "%s %s: serves on, though %s while it started: %v; stop it with systemctl\n", service, name, why, err)
	}
	return nil
}

// reject records a failed start. A good revision is started again instead, however
// it has ended, unless somebody stops it. What fails because somebody stops it has
// not failed.
func (r rollout) reject(ctx context.Context, service, name string) error {
	result := r.w.Getenv("SERVICE_RESULT")
	if result == "" {
		return fmt.Errorf("%s %s: SERVICE_RESULT is not set; reject is for ExecStopPost= lines of a unit", service, name)
	}
	if result == "success" {
		// The usual end of a revision that has been replaced.
		if good, err := r.store.Good(service); err != nil || name != good {
			return err
		}
	}
	unlock, err := r.lock(ctx, service)
	if err != nil {
		return err
	}
	defer unlock()
	good, err := r.store.Good(service)
	if err != nil {
		return err
	}
	current, err := r.store.Current(service)
	if err != nil {
		return err
	}
	if name != good && (name != current || result == "success") {
		// It has been replaced, and may have served before; what failed is its stop.
		return nil
	}
	return r.ask(ctx, fmt.Sprintf("%s %s: not rejected", service, name), func(conn systemdConn) error {
		unit := units.RunnerUnit(service, name)
		if stopping, err := conn.StopRequested(ctx, unit); err != nil || stopping {
			return err
		}
		if name == good {
			return r.startAgain(ctx, conn, unit)
		}
		reason, err := r.reason(ctx, conn, unit, result)
		if err != nil {
			return err
		}
		if err := r.store.SetFailed(service, name, reason); err != nil {
			return err
		}
		r.w.Notify.Status("rejected: %s", reason)
		return nil
	})
}

// startAgain starts a good revision that systemd will not start by itself,
// because it has not read yet that the revision is good.
func (r rollout) startAgain(ctx context.Context, conn systemdConn, unit string) error {
	restarts, err := conn.RestartsByItself(ctx, unit)
	if err != nil || restarts {
		return err
	}
	return conn.StartWithoutWaiting(ctx, unit)
}

// reason returns why a unit failed: what the step that failed said, or else what
// systemd says.
func (r rollout) reason(ctx context.Context, conn systemdConn, unit, result string) (string, error) {
	said, err := conn.StatusText(ctx, unit)
	if err != nil {
		return "", err
	}
	verdict := result
	if code := r.w.Getenv("EXIT_CODE"); code != "" {
		// What failed may be a step that came after it.
		verdict = fmt.Sprintf("%s; main process %s %s", result, code, r.w.Getenv("EXIT_STATUS"))
	}
	switch {
	case said == "":
		return verdict, nil
	case result == "signal", result == "core-dump", result == "oom-kill":
		// It had no time to say why: the status is from before.
		return fmt.Sprintf("a helper was killed after \"%s\" (%s)", said, verdict), nil
	}
	return fmt.Sprintf("%s (%s)", said, verdict), nil
}

// stop stops every runner of a service, unless the manager is only restarted:
// that must not interrupt the service.
func (r rollout) stop(ctx context.Context, service string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.keepExtending(ctx)
	return r.ask(ctx, fmt.Sprintf("%s: stop the runners", service), func(conn systemdConn) error {
		restarting, err := conn.Restarting(ctx, units.ManagerUnit(service))
		if err != nil {
			return err
		}
		if restarting {
			fmt.Fprintf(r.w.Stdout, "%s is only restarted: its runners go on\n", units.ManagerUnit(service))
			return conn.CancelRestarts(ctx, service)
		}
		err = conn.StopRunners(ctx, service, func(stopping []string) {
			r.w.Notify.Status("stopping %s", strings.Join(stopping, ", "))
		})
		if err == nil {
			r.w.Notify.Status("stopped")
		}
		return err
	})
}

// keepExtending asks for time as long as runners stop; each of them has limits
// of its own.
func (r rollout) keepExtending(ctx context.Context) {
	const ahead = 30 * time.Second
	tick := time.NewTicker(ahead / 3)
	defer tick.Stop()
	for {
		r.w.Notify.ExtendTimeout(ahead)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
