package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// renew replaces the containers of the good revision by new ones of the same revision,
// one after the other, as a rollout would: it starts another runner, whose acceptance
// retires the one that has served longest. A failure changes nothing.
func (r rollout) renew(ctx context.Context, service name.Service) error {
	err := r.ask(ctx, fmt.Sprintf("%s: not renewed", service), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, service)
		if err != nil {
			return err
		}
		old, err := s.planRenew()
		if err != nil {
			return err
		}
		d, err := r.store.Read(s.Name.Revision(s.Good))
		if err != nil {
			return err
		}
		if d.StopsFirst() {
			return r.renewInPlace(ctx, conn, old[0])
		}
		for len(old) > 0 {
			serves, err := oldest(ctx, conn, old)
			if err != nil {
				return err
			}
			if err := r.renewBeside(ctx, conn, serves); err != nil {
				return err
			}
			old = slices.DeleteFunc(old, func(one name.Runner) bool { return one == serves })
		}
		r.w.Notify.Status("serving")
		return nil
	})
	if ctx.Err() != nil {
		return &command.SignalError{Signal: unix.SIGTERM}
	}
	return err
}

// renewBeside replaces a runner that serves by another one of its revision, and waits
// until the former has stopped.
func (r rollout) renewBeside(ctx context.Context, conn systemdConn, serves name.Runner) error {
	for {
		s, err := r.look(ctx, conn, serves.Service)
		if err != nil {
			return err
		}
		if next, ok := s.spare(); ok {
			if err := r.startBeside(ctx, conn, serves, next); err != nil {
				return err
			}
			break
		}
		if s.serveBeside(serves) >= s.Replicas {
			break
		}
		// Those beside it drain, or have yet to serve.
		if !sleep(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
	r.w.Notify.Status("renewing: stopping %s", serves.Unit())
	if err := conn.StopUnits(ctx, []string{serves.Unit()}, "ignore-dependencies", func([]string) {}); err != nil {
		return err
	}
	return r.store.Withdraw(serves)
}

// startBeside starts the runner that is to replace another one.
func (r rollout) startBeside(ctx context.Context, conn systemdConn, serves, next name.Runner) error {
	if err := r.store.Announce(next); err != nil {
		return err
	}
	if err := conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload systemd's units: %w", err)
	}
	r.w.Notify.Status("renewing: starting %s", next.Unit())
	starting, cancel := r.whileCurrent(ctx, serves.Service)
	defer cancel()
	err := conn.StartAndWait(starting, next.Unit())
	switch {
	case errors.Is(err, systemd.ErrConnectionLost):
		return err // it may be starting still
	case err != nil && errors.Is(context.Cause(starting), errEdited):
		return hint.Add(fmt.Errorf("%s: not renewed: %w", serves.Service, errEdited), "run systemctl status '%s@*'", serves.Service)
	case err != nil:
		return r.notRenewed(ctx, conn, next, serves, err)
	}
	return nil
}

// errEdited says that a renewal gives way to the rollout of another revision.
var errEdited = errors.New("another revision has become current")

// whileCurrent returns a context that ends, with the cause errEdited, when another
// revision becomes current. systemd does not start that one before the manager's reload
// is over.
func (r rollout) whileCurrent(ctx context.Context, service name.Service) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	begin, unknown := r.store.Current(service)
	go func() {
		for sleep(ctx, 300*time.Millisecond) {
			if now, err := r.store.Current(service); err == nil && unknown == nil && now != begin {
				cancel(errEdited)
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// notRenewed says why the runner that was to replace another one has not.
func (r rollout) notRenewed(ctx context.Context, conn systemdConn, next, serves name.Runner, started error) error {
	if ctx.Err() != nil {
		return started
	}
	why, err := conn.StatusText(ctx, next.Unit())
	if err != nil || why == "" {
		why = started.Error()
	}
	if result, err := conn.Result(ctx, next.Unit()); err == nil && killed(result) {
		why = fmt.Sprintf("a helper was killed after %q", why)
	}
	// It is not started again: this is all that is left of it.
	err = errors.Join(conn.Stop(ctx, next.Unit()), conn.ResetFailed(ctx, next.Unit()), r.store.Withdraw(next))
	return hint.Add(errors.Join(fmt.Errorf("%s: not renewed: %s; %s keeps serving", serves.Service, why, serves.Unit()), err), "run journalctl -u %s", next.Unit())
}

// renewInPlace is for a revision of which two containers must not run at once: clients
// wait while it is restarted.
func (r rollout) renewInPlace(ctx context.Context, conn systemdConn, serves name.Runner) error {
	if err := startHold(ctx, conn, serves.Service); err != nil {
		return fmt.Errorf("%s: clients cannot be kept waiting: %w", serves, err)
	}
	r.w.Notify.Status("renewing: restarting %s", serves.Unit())
	if err := conn.TryRestartAndWait(ctx, serves.Unit()); err != nil {
		return errors.Join(err, endHold(ctx, conn, serves.Service))
	}
	r.w.Notify.Status("serving")
	return nil
}

// planRenew returns the runners that are to be renewed, one at least.
func (s scene) planRenew() (serves []name.Runner, err error) {
	one, ok := s.Runner(s.Good)
	switch {
	case s.Good == "" || !ok:
		return nil, hint.Add(fmt.Errorf("%s: not renewed: no revision has served yet", s.Name), "run systemctl status '%s@*'", s.Name)
	case one.Unit.ActiveState != "active":
		return nil, hint.Add(fmt.Errorf("%s: not renewed: %s %s", s.Name, one.Mark(), one.Why()), "run systemctl status '%s@*'", s.Name)
	}
	for _, one := range s.Of(s.Good) {
		if keepsServing(one) {
			serves = append(serves, one.Runner)
		}
	}
	return serves, nil
}

// spare returns a runner of the good revision that does not run, and false when there are
// already more than there should be.
func (s scene) spare() (name.Runner, bool) {
	for _, runner := range s.Name.Revision(s.Good).Runners(s.Replicas + 1) {
		if one, ok := s.RunnerOf(runner.Unit()); !ok || !one.Live() {
			return runner, true
		}
	}
	return name.Runner{}, false
}
