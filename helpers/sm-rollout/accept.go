package main

import (
	"context"
	"errors"
	"fmt"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/mainprocess"
	"service-manager/units/name"
)

// accept makes the current revision the good one, once as many of its replicas serve as
// should, and retires all others. The lock keeps a newer revision from becoming current
// in between: its runner would be retired, too.
func (r rollout) accept(ctx context.Context, runner name.Runner) error {
	unlock, err := r.lock(ctx, runner.Service)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := r.store.Current(runner.Service)
	if err != nil {
		return err
	}
	if runner.Rev != current {
		return r.acceptReplaced(ctx, runner, current)
	}
	serves := false
	err = r.ask(ctx, fmt.Sprintf("%s: not accepted", runner), func(conn systemdConn) error {
		if !serves {
			// Not before: it may have taken long to reach systemd.
			if err := r.checkMain(ctx, runner); err != nil {
				return err
			}
			whole, err := r.isWhole(ctx, conn, runner)
			if err != nil || !whole {
				return err
			}
		}
		if err := r.store.SetGood(runner.Revision); err != nil {
			return err
		}
		if err := r.store.ClearFailed(runner.Revision); err != nil {
			return err
		}
		serves = true
		return errors.Join(r.forgetReady(runner.Revision), r.store.WithdrawOthers(runner.Revision),
			retireOthers(ctx, conn, runner.Revision), r.retireSurplus(ctx, conn, runner), r.serving(ctx, conn, runner, "serving"))
	})
	if err != nil && serves {
		// Others may have been told to stop already. Failing now would stop the one that
		// is left; a runner too many is retired with the next revision.
		r.w.Warn(hint.Add(fmt.Errorf("%s: serves, but others may still run: %w", runner, err), "run systemctl status '%s@*'", runner.Service))
		return nil
	}
	return err
}

// isWhole reports whether as many replicas of the current revision serve as should. If
// not, it notes that this one does.
func (r rollout) isWhole(ctx context.Context, conn systemdConn, runner name.Runner) (bool, error) {
	if good, err := r.store.Good(runner.Service); err == nil && good == runner.Rev {
		return true, nil
	}
	r.forgetPace(runner)
	replicas, err := r.store.Replicas(runner.Revision)
	if err != nil || replicas == 1 {
		return err == nil, err
	}
	n, err := r.countReady(ctx, conn, runner, replicas)
	if err != nil || n == replicas {
		return err == nil, err
	}
	if err := r.ready(runner).set(); err != nil {
		return false, err
	}
	return false, r.serving(ctx, conn, runner, fmt.Sprintf("serving; becomes good when %d more of %d replicas serve", replicas-n, replicas))
}

// serving ends whatever waits for a runner to serve.
func (r rollout) serving(ctx context.Context, conn systemdConn, runner name.Runner, status string) error {
	r.w.Notify.Status("%s", status)
	r.turns().release(runner.Unit())
	return endOutage(ctx, conn, runner.Service)
}

// checkMain returns an error when the unit's main process has ended, or is about to.
func (r rollout) checkMain(ctx context.Context, runner name.Runner) error {
	err := mainprocess.Check(ctx, r.w)
	if errors.Is(err, mainprocess.ErrGone) {
		return mainprocess.Gone(fmt.Sprintf("%s: not accepted", runner))
	}
	if err != nil {
		return fmt.Errorf("%s: not accepted: %w", runner, err)
	}
	return nil
}

// acceptReplaced is for a revision that is not current. The good one serves until the
// current one does. Any other may have connections by now, which a failure would cut: it
// is stopped in order instead or, if that is impossible, with the next revision.
func (r rollout) acceptReplaced(ctx context.Context, runner name.Runner, current name.Rev) error {
	if err := r.checkMain(ctx, runner); err != nil {
		return err
	}
	good, err := r.store.Good(runner.Service)
	if err != nil {
		return err
	}
	if runner.Rev == good {
		err := r.ask(ctx, "not cleared", func(conn systemdConn) error {
			return errors.Join(r.retireSurplus(ctx, conn, runner), r.serving(ctx, conn, runner, "serving"))
		})
		if err != nil {
			r.w.Warning("%s: serves, but one that it replaces may still run: %v", runner, err)
		}
		return nil
	}
	why := "deleted"
	if current != "" {
		why = "replaced by " + string(current)
	}
	r.w.Notify.Status("stopping: %s while it started", why)
	err = r.ask(ctx, "not stopped", func(conn systemdConn) error {
		return retireOnceStarted(ctx, conn, runner.Unit())
	})
	if err != nil {
		r.w.Warn(hint.Add(fmt.Errorf("%s: still serving, although %s while it was starting: %w", runner, why, err), "run systemctl stop %s", runner.Unit()))
	}
	return nil
}
