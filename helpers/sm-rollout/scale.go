package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"service-manager/helpers/internal/overview"
	"service-manager/units/name"
	"service-manager/units/printable"
)

// scale brings the good revision to the number of runners that it should have, when a
// newer revision changes nothing but that. It does not wait for those that it starts:
// they are started again and again, like every runner of a good revision.
func (r rollout) scale(ctx context.Context, by name.Runner) error {
	extending, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.keepExtending(extending)
	return r.ask(ctx, fmt.Sprintf("%s: its number of replicas is not applied", by), func(conn systemdConn) error {
		s, err := r.look(ctx, conn, by.Service)
		if err != nil || s.Stopped() {
			return err
		}
		for _, runner := range s.missing(nil) {
			fmt.Fprintf(r.w.Stdout, "%s: starting %s, of %s\n", by, runner.Unit(), printable.Count(s.Replicas, "replica"))
			if _, err := conn.Start(ctx, runner.Unit()); err != nil {
				return err
			}
		}
		return r.stopSurplus(ctx, conn, s, by)
	})
}

// stopSurplus stops the runners of the good revision beyond the number that it should
// have.
func (r rollout) stopSurplus(ctx context.Context, conn systemdConn, s scene, by name.Runner) error {
	var units []string
	surplus := s.surplus()
	for _, runner := range surplus {
		// Its unit must stay until the last command of its stop.
		if err := r.store.Announce(runner); err != nil {
			return err
		}
		units = append(units, runner.Unit())
	}
	if len(units) == 0 {
		return nil
	}
	fmt.Fprintf(r.w.Stdout, "%s: stopping %s, for %s\n", by, strings.Join(units, ", "), printable.Count(s.Replicas, "replica"))
	problems := []error{conn.StopUnits(ctx, units, "replace", func(stopping []string) {
		r.w.Notify.Status("stopping %s", strings.Join(stopping, ", "))
	})}
	for _, runner := range surplus {
		problems = append(problems, r.store.Withdraw(runner))
	}
	return errors.Join(problems...)
}

// missing returns the runners to start so that the good revision has as many as it
// should. tried are units that have been started: one that has ended since was stopped,
// or has failed.
func (s scene) missing(tried map[string]bool) (start []name.Runner) {
	its := s.Of(s.Good)
	missing := s.Replicas
	for _, one := range its {
		if one.Live() || tried[one.Unit.Name] {
			missing--
		}
	}
	for _, one := range its {
		if missing > 0 && one.Number <= s.Replicas && one.Unit.LoadState == "loaded" && !one.Live() && !tried[one.Unit.Name] {
			start = append(start, one.Runner)
			missing--
		}
	}
	return start
}

// surplus returns the runners to stop so that the good revision has no more than it
// should: first those that do not serve, and then those with the highest numbers.
func (s scene) surplus() (stop []name.Runner) {
	live := slices.DeleteFunc(s.Of(s.Good), func(one overview.Runner) bool { return !one.Live() || one.Unit.JobType == "stop" })
	slices.SortFunc(live, func(a, b overview.Runner) int {
		return cmp.Or(cmp.Compare(a.Rank(), b.Rank()), cmp.Compare(b.Number, a.Number))
	})
	for _, one := range live[:max(0, len(live)-s.Replicas)] {
		stop = append(stop, one.Runner)
	}
	return stop
}

// retireSurplus stops, beside a runner that now serves, the runners of its revision
// beyond the number that it should have: those that have served longest. It does not
// wait. That is how one runner replaces another.
func (r rollout) retireSurplus(ctx context.Context, conn systemdConn, runner name.Runner) error {
	replicas, err := r.store.Replicas(runner.Revision)
	if err != nil {
		return err
	}
	units, err := conn.Runners(ctx, runner.Service)
	if err != nil {
		return err
	}
	var others []name.Runner
	for _, unit := range units {
		other, err := name.ParseUnit(unit.Name)
		if err == nil && other.Revision == runner.Revision && other != runner && unit.ActiveState == "active" && unit.JobType != "stop" {
			others = append(others, other)
		}
	}
	for len(others) >= replicas {
		first, err := oldest(ctx, conn, others)
		if err != nil {
			return err
		}
		if err := conn.Stop(ctx, first.Unit()); err != nil {
			return err
		}
		others = slices.DeleteFunc(others, func(other name.Runner) bool { return other == first })
	}
	return nil
}

// keepsServing reports whether a runner serves, and is not about to stop.
func keepsServing(r overview.Runner) bool {
	return r.Unit.ActiveState == "active" && r.Unit.JobType != "stop"
}

// serveBeside returns how many other runners of a revision serve.
func (s scene) serveBeside(runner name.Runner) (n int) {
	for _, one := range s.Of(runner.Rev) {
		if one.Runner != runner && keepsServing(one) {
			n++
		}
	}
	return n
}

// oldest returns the runner that has served for longest.
func oldest(ctx context.Context, conn systemdConn, runners []name.Runner) (first name.Runner, err error) {
	var since time.Duration
	for _, runner := range runners {
		a, err := conn.Activity(ctx, runner.Unit())
		if err != nil {
			return first, err
		}
		if first.Number == 0 || a.Active < since {
			first, since = runner, a.Active
		}
	}
	return first, nil
}
