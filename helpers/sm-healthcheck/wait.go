package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/mainprocess"
	"service-manager/helpers/sm-healthcheck/probe"
)

// plan says how often and for how long to probe.
type plan struct {
	timeout  time.Duration // within this the final run of successes must begin
	interval time.Duration // from the beginning of a probe to that of the next, at most
	hold     time.Duration // how long probes must keep succeeding
}

// vigil is one wait for health, and what it knows so far.
type vigil struct {
	plan
	name     string // how messages call the probe
	world    command.World
	deadline time.Time

	next    time.Duration // from the beginning of this probe to that of the next; the interval once there was a success
	failure string        // the last one; empty before the first
	healthy time.Time     // when the present run of successes began; zero when there is none
	longest time.Duration // how long the longest broken run was
	status  string        // what the unit's status says
}

// wait probes until the plan is fulfilled. ask makes a probe, and returns what it saw, to
// show to a person, or the reason why that is not healthy.
func (p plan) wait(ctx context.Context, w command.World, name string, ask func(context.Context) (string, error)) error {
	v := &vigil{plan: p, name: name, world: w, deadline: time.Now().Add(p.timeout), next: min(firstInterval, p.interval)}
	for {
		if v.healthy.IsZero() && !time.Now().Before(v.deadline) {
			return v.unhealthy()
		}
		begin := time.Now()
		seen, err := v.probe(ctx, ask)
		if ctx.Err() != nil {
			return v.ended(ctx)
		}
		v.note(err, time.Now())
		if !v.healthy.IsZero() && time.Since(v.healthy) >= p.hold {
			v.show(fmt.Sprintf("healthy: %s: %s", name, seen))
			return nil
		}
		if v.pause(ctx, begin) != nil {
			return v.ended(ctx)
		}
	}
}

// probe makes one probe. Outside a run of successes it ends at the time-out: what a late
// answer says no longer matters.
func (v *vigil) probe(ctx context.Context, ask func(context.Context) (string, error)) (seen string, err error) {
	probing := ctx
	if v.healthy.IsZero() {
		var cancel context.CancelFunc
		probing, cancel = context.WithDeadline(ctx, v.deadline)
		defer cancel()
	}
	type outcome struct {
		seen string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		seen, err := ask(probing)
		if errors.As(err, new(probe.NoAnswer)) && !time.Now().Before(v.deadline) && v.healthy.IsZero() && v.failure != "" {
			// The end of the time must not hide the earlier reason.
			err = errors.New(v.failure)
		}
		done <- outcome{seen, err}
	}()
	o, err := attend(ctx, v, done)
	if err != nil {
		return "", err
	}
	return o.seen, o.err
}

// note takes in the outcome of a probe.
func (v *vigil) note(err error, at time.Time) {
	if err == nil {
		v.next = v.interval
		if v.healthy.IsZero() {
			v.healthy = at
		}
		return
	}
	v.failure = err.Error()
	if !v.healthy.IsZero() {
		v.longest = max(v.longest, at.Sub(v.healthy))
		v.healthy = time.Time{}
	}
}

// firstInterval is the first interval; each is twice as long as the one before it, so
// that the wait for what is ready within moments is not much longer than that.
const firstInterval = 5 * time.Millisecond

// pause waits for the next probe: one interval after the beginning of the last
// one, or the end of the hold or of the time when that comes first.
func (v *vigil) pause(ctx context.Context, begin time.Time) error {
	next, end := begin.Add(v.next), v.deadline
	v.next = min(2*v.next, v.interval)
	if !v.healthy.IsZero() {
		end = v.healthy.Add(v.hold)
	}
	if end.Before(next) {
		next = end
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	_, err := attend(ctx, v, timer.C)
	return err
}

// attend keeps the unit's status up to date until an event comes or ctx ends.
func attend[T any](ctx context.Context, v *vigil, event <-chan T) (got T, err error) {
	v.show(v.describe())
	select {
	case got = <-event:
		return got, nil
	case <-ctx.Done():
		return got, ctx.Err()
	}
}

// show sends the unit's status when it has changed.
func (v *vigil) show(status string) {
	if status != v.status {
		v.status = status
		v.world.Notify.Status("%s", status)
	}
}

// describe says what the wait is doing. It does not count seconds: when the main process
// dies, its last word must stay the unit's status, and a status with nothing new in it
// could come between that word and the end of the process.
func (v *vigil) describe() string {
	if !v.healthy.IsZero() {
		return fmt.Sprintf("healthy: %s: has to hold for %s", v.name, v.hold)
	}
	reason := v.failure
	if reason == "" {
		reason = "no answer yet"
	}
	return fmt.Sprintf("waiting for health until %s: %s: %s", v.deadline.Format(time.TimeOnly), v.name, reason)
}

// unhealthy is the error of a wait whose time is up.
func (v *vigil) unhealthy() error {
	broken := ""
	if v.longest > 0 {
		broken = fmt.Sprintf(" (it held for %s of %s)", v.longest.Round(time.Millisecond), v.hold)
	}
	return fmt.Errorf("not healthy after %s: %s: %s%s", v.timeout, v.name, v.failure, broken)
}

// ended is the error of a wait that was ended from outside.
func (v *vigil) ended(ctx context.Context) error {
	if context.Cause(ctx) == mainprocess.ErrGone {
		return mainprocess.Gone("wait for health")
	}
	if v.failure == "" {
		return fmt.Errorf("stopped before it was healthy: %s", v.name)
	}
	return fmt.Errorf("stopped before it was healthy: %s: %s", v.name, v.failure)
}
