package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/units/name"
)

// outage fails once nothing has served for a minute, and ends well when the
// service serves or is stopped. Until the manager is up it also does what the
// manager cannot do when it is stopped before its start has begun.
func (r rollout) outage(ctx context.Context, service name.Service) error {
	for rests := r.rests(service); ; {
		what, why := watching, ""
		var longest time.Duration
		err := r.ask(ctx, fmt.Sprintf("%s: not watched", service), func(conn systemdConn) error {
			s, err := r.look(ctx, conn, service)
			if err != nil {
				return err
			}
			since, err := r.lastServed(ctx, conn, s)
			if err != nil {
				return err
			}
			why = s.Why()
			longest = shortRest // a manager that is stopped before its start leaves no trace
			if s.Up() {
				longest = min(longRest, max(since+patience-conn.Uptime(), firstRest))
			}
			if what = s.planOutage(since, conn.Uptime()); what == orphans {
				return r.stopOrphans(ctx, conn, service)
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return &command.SignalError{Signal: unix.SIGTERM}
		case err != nil:
			return err
		case what == outage:
			return fmt.Errorf("%s: nothing has served for %s: %s", service, patience, why)
		case what != watching:
			return nil
		}
		r.w.Notify.Status("watching: %s", why)
		if !rests.rest(ctx, longest) {
			return &command.SignalError{Signal: unix.SIGTERM}
		}
	}
}

// lastServed returns when a runner of the service was last active, or the manager
// began to start, whichever was later.
func (r rollout) lastServed(ctx context.Context, conn systemdConn, s scene) (time.Duration, error) {
	a, err := conn.Activity(ctx, s.Name.Manager())
	if err != nil {
		return 0, err
	}
	last := a.Began
	for _, one := range s.Runners {
		if one.Unit.LoadState != "loaded" {
			continue
		}
		a, err := conn.Activity(ctx, one.Unit.Name)
		if err != nil {
			return 0, err
		}
		last = max(last, a.Ended)
	}
	if last == 0 {
		// systemd has forgotten a manager that was stopped, and knows nothing of the one that
		// it has read again for this question.
		last = conn.Uptime()
	}
	return last, nil
}
