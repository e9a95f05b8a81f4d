package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"service-manager/helpers/internal/overview"
	"service-manager/units/name"
)

// stop stops every runner of a service, if its manager is being stopped for good:
// a restart, or a failure, must not interrupt the service.
func (r rollout) stop(ctx context.Context, service name.Service) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.keepExtending(ctx)
	byHand := r.w.Getenv("SERVICE_RESULT") == ""
	return r.ask(ctx, fmt.Sprintf("%s: stop the runners", service), func(conn systemdConn) error {
		manager, err := conn.State(ctx, service.Manager())
		if err != nil {
			return err
		}
		if !(scene{overview.Service{Manager: manager}}).stopsRunners(byHand) {
			// Until its next start has begun, a stop of the manager runs no command; the
			// unit that watches for outages takes care of that.
			return watchOutage(ctx, conn, service)
		}
		// There is nothing left to wait for.
		if err := endHold(ctx, conn, service); err != nil {
			return err
		}
		err = conn.StopRunners(ctx, service, nil, func(stopping []string) {
			r.w.Notify.Status("stopping %s", strings.Join(stopping, ", "))
		})
		if err != nil {
			return err
		}
		r.w.Notify.Status("stopped")
		// What was stopped has no outage.
		if err := conn.Stop(ctx, service.Outage()); err != nil {
			return err
		}
		return endOutage(ctx, conn, service)
	})
}

// keepExtending asks for more time as long as something runs that has limits of its own.
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
