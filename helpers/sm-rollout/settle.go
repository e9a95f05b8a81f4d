package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/units"
)

const cutShort = "its start ended before sm-rollout accept; a reload changed its commands meanwhile, or a drop-in removes them"

// settle sees to a runner whose start is over: it has to be accepted or rejected
// by now. It stays until one of these is the case: systemd takes the start of this
// unit that comes with a further start of the runner for the one that runs.
func (r rollout) settle(ctx context.Context, service, name string) error {
	for {
		what, err := r.settleOnce(ctx, service, name)
		if err != nil || what != again && what != starts && what != tryAgain {
			return err
		}
		if what != again && !sleep(ctx, time.Second) {
			return &command.SignalError{Signal: unix.SIGTERM}
		}
	}
}

// settleOnce looks, does one thing, and returns what it did.
func (r rollout) settleOnce(ctx context.Context, service, name string) (what settlement, err error) {
	unlock, err := r.lock(ctx, service)
	if err != nil {
		return settled, err
	}
	defer unlock()
	unit := units.RunnerUnit(service, name)
	err = r.ask(ctx, fmt.Sprintf("%s %s: neither accepted nor rejected", service, name), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, service)
		if err != nil {
			return err
		}
		what = s.planSettle(name, r.pace(service, name).failures)
		switch what {
		case again:
			fmt.Fprintf(r.w.Stdout, "%s %s: starting it again: %s\n", service, name, cutShort)
			if err := r.countFailure(service, name, 0); err != nil {
				return err
			}
			return conn.Restart(ctx, unit)
		case tryAgain:
			_, err := conn.Start(ctx, unit)
			return err
		case retireIt:
			fmt.Fprintf(r.w.Stdout, "%s %s: stopping it: it was replaced while it started\n", service, name)
			return conn.Stop(ctx, unit)
		case rejectIt:
			fmt.Fprintf(r.w.Stdout, "%s %s: rejected: %s\n", service, name, cutShort)
			if err := r.store.SetFailed(service, name, cutShort); err != nil {
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
			return r.store.SetFailed(service, name, reason)
		case tidy:
			return r.store.ClearRecord(service, name)
		}
		return nil
	})
	return what, err
}
