package main

import (
	"context"
	"errors"
	"fmt"

	"service-manager/helpers/internal/mainprocess"
	"service-manager/units"
)

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
		if good, err := r.store.Good(service); err == nil && good != name {
			r.forgetPace(service, name)
		}
		if err := r.store.SetGood(service, name); err != nil {
			return err
		}
		if err := r.store.ClearFailed(service, name); err != nil {
			return err
		}
		serves = true
		return errors.Join(conn.RetireRunners(ctx, service, units.RunnerUnit(service, name)), r.serving(ctx, conn, service, name))
	})
	if err != nil && serves {
		// Others may have been told to stop already. To fail now would stop the one
		// that is left; a runner too many is retired with the next revision.
		r.w.Warning("%s %s: serves, but others may still run: %v; run systemctl status '%s@*'", service, name, err, service)
		return nil
	}
	return err
}

// serving ends what waits for a runner to serve.
func (r rollout) serving(ctx context.Context, conn systemdConn, service, name string) error {
	r.w.Notify.Status("%s", "serving")
	r.turns().release(units.RunnerUnit(service, name))
	return endOutage(ctx, conn, service)
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
		err := r.ask(ctx, "not cleared", func(conn systemdConn) error { return r.serving(ctx, conn, service, name) })
		if err != nil {
			r.w.Warning("%s %s: serves, but its outage: %v", service, name, err)
		}
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
		r.w.Warning("%s %s: still serving, although %s while it was starting: %v; run systemctl stop %s", service, name, why, err, units.RunnerUnit(service, name))
	}
	return nil
}
