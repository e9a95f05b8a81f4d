package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/units/name"
)

const dockerUnit = "docker.service"

// start starts what should serve, without waiting for those jobs, and waits until
// something serves. It fails when nothing will.
func (r rollout) start(ctx context.Context, service name.Service) error {
	manager := service.Manager()
	restarted := false
	err := r.ask(ctx, fmt.Sprintf("%s: not started", service), func(conn systemdConn) error {
		restarts, err := conn.Restarts(ctx, manager)
		if err != nil {
			return err
		}
		if restarted = restarts > 0; restarted {
			return nil
		}
		return startDocker(ctx, conn)
	})
	if err != nil {
		return err
	}
	tried := make(map[string]bool) // units
	reporter := reporter{w: r.w}
	began := time.Now()
	for rests := r.rests(service); ; {
		var plan startPlan
		err := r.ask(ctx, fmt.Sprintf("%s: not started", service), func(conn systemdConn) (err error) {
			plan, err = r.step(ctx, conn, service, tried, restarted)
			if err == nil && plan.verdict != served && (plan.verdict == failed || time.Since(began) > outageDelay) {
				err = watchOutage(ctx, conn, service)
			}
			if err == nil && plan.verdict == served {
				err = endOutage(ctx, conn, service)
			}
			return err
		})
		switch {
		case ctx.Err() != nil:
			return r.interrupted(ctx, service)
		case err != nil && !restarted:
			return err
		case err != nil:
			reporter.report(time.Now(), err.Error())
		case plan.verdict == served:
			r.w.Notify.Status("%s", plan.status)
			return nil
		case plan.verdict == failed:
			return hint.Add(errors.New(plan.status), "edit the definition, or run systemctl start of a revision")
		default:
			reporter.report(time.Now(), plan.status)
		}
		longest := shortRest
		if plan.live {
			longest = longRest
		}
		if !rests.rest(ctx, longest) {
			return r.interrupted(ctx, service)
		}
	}
}

// outageDelay is how long a start waits before it starts the watch for an outage. Most
// starts are over by then, and the watch counts from their beginning.
const outageDelay = 5 * time.Second

// step looks at how things are, starts what has to be started, and returns what to do
// next.
func (r rollout) step(ctx context.Context, conn systemdConn, service name.Service, tried map[string]bool, restarted bool) (startPlan, error) {
	s, err := r.look(ctx, conn, service)
	if err != nil {
		return startPlan{}, err
	}
	for _, one := range s.Runners {
		if one.Unit.ActiveState == "active" || one.Unit.ActiveState == "activating" {
			tried[one.Unit.Name] = true
		}
	}
	plan := s.planStart(tried, restarted)
	for _, runner := range plan.start {
		unit := runner.Unit()
		if tried[unit], err = conn.Start(ctx, unit); err != nil {
			return startPlan{}, err
		}
	}
	return plan, nil
}

// interrupted returns the end of a start that got SIGTERM: death by that signal, which
// systemd counts as success, unless someone else sent it.
func (r rollout) interrupted(ctx context.Context, service name.Service) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	stopping := false
	err := r.ask(ctx, fmt.Sprintf("%s: interrupted", service), func(conn systemdConn) error {
		manager, err := conn.State(ctx, service.Manager())
		stopping = manager.JobType != "" && manager.JobType != "start" || manager.ActiveState == "deactivating"
		return err
	})
	if err == nil && !stopping {
		err = fmt.Errorf("%s: interrupted by SIGTERM", service)
	}
	if err != nil {
		return err
	}
	return &command.SignalError{Signal: unix.SIGTERM}
}
