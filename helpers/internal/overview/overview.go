// Package overview describes a service at one moment: which revisions it has, what
// systemd knows about their units, and what is wrong. It only reads.
package overview

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// Service is a service at one moment.
type Service struct {
	Name          name.Service
	Good, Current name.Rev // empty when there is none
	Replicas      int      // how many the good revision is to have; 0 without one
	Manager       dbus.UnitStatus
	Runners       []Runner // those of good and current, and those that systemd has loaded; older revisions first
}

// Runner is one runner of a service.
type Runner struct {
	name.Runner
	Unit     dbus.UnitStatus
	Status   string // its status text, as systemctl status shows it
	Rejected bool
	Reason   string // why it was rejected
}

// Systemd is what Look asks of systemd.
type Systemd interface {
	State(ctx context.Context, unit string) (dbus.UnitStatus, error)
	Runners(ctx context.Context, service name.Service) ([]dbus.UnitStatus, error)
	StatusText(ctx context.Context, unit string) (string, error)
}

// Look returns a service as it is now. The error is of the disk or of systemd.
func Look(ctx context.Context, store revision.Store, conn Systemd, service name.Service) (s Service, err error) {
	s.Name = service
	if s.Good, err = store.Good(service); err != nil {
		return s, err
	}
	if s.Current, err = store.Current(service); err != nil {
		return s, err
	}
	if s.Manager, err = conn.State(ctx, service.Manager()); err != nil {
		return s, err
	}
	states, err := conn.Runners(ctx, service)
	if err != nil {
		return s, err
	}
	for _, rev := range slices.Compact([]name.Rev{s.Good, s.Current}) {
		if rev == "" {
			continue
		}
		revision := service.Revision(rev)
		replicas, _ := store.Replicas(revision) // the generator reports damage
		if rev == s.Good {
			s.Replicas = replicas
		}
		for _, runner := range revision.Runners(replicas) {
			unit := runner.Unit()
			if slices.ContainsFunc(states, func(u dbus.UnitStatus) bool { return u.Name == unit }) {
				continue
			}
			// Asking makes systemd load the unit.
			state, err := conn.State(ctx, unit)
			if err != nil {
				return s, err
			}
			states = append(states, state)
		}
	}
	for _, state := range states {
		one := Runner{Unit: state}
		if one.Runner, err = name.ParseUnit(state.Name); err != nil {
			return s, fmt.Errorf("%s is not a runner: %w", state.Name, err)
		}
		if one.Reason, one.Rejected, err = store.Failed(one.Revision); err != nil {
			return s, err
		}
		if state.LoadState == "loaded" {
			if one.Status, err = conn.StatusText(ctx, state.Name); err != nil {
				return s, err
			}
		}
		s.Runners = append(s.Runners, one)
	}
	slices.SortFunc(s.Runners, func(a, b Runner) int { return a.Compare(b.Runner) })
	return s, nil
}

// Serves reports whether a runner has completed its start. A unit that is not to be
// counted may be given.
func (s Service) Serves(except string) bool {
	for _, r := range s.Runners {
		if !r.is(except) && r.Unit.ActiveState == "active" {
			return true
		}
	}
	return false
}

// MayServe reports whether a runner may come to serve without help. A unit that is not to
// be counted may be given.
func (s Service) MayServe(except string) bool {
	for _, r := range s.Runners {
		if !r.is(except) && r.Live() {
			return true
		}
	}
	return false
}

// Pending reports whether current has still to become good.
func (s Service) Pending() bool {
	if s.Current == "" || s.Current == s.Good {
		return false
	}
	one, ok := s.Runner(s.Current)
	return !ok || !one.Rejected
}

// Of returns the runners of a revision, in the order of their numbers.
func (s Service) Of(rev name.Rev) []Runner {
	var its []Runner
	for _, r := range s.Runners {
		if r.Rev == rev {
			its = append(its, r)
		}
	}
	slices.SortFunc(its, func(a, b Runner) int { return a.Compare(b.Runner) })
	return its
}

// Runner returns the runner of a revision, if there is one: of several, one that serves,
// or else one that may.
func (s Service) Runner(rev name.Rev) (Runner, bool) {
	its := s.Of(rev)
	if len(its) == 0 {
		return Runner{}, false
	}
	return slices.MaxFunc(its, func(a, b Runner) int {
		return cmp.Or(cmp.Compare(a.Rank(), b.Rank()), cmp.Compare(b.Number, a.Number))
	}), true
}

// RunnerOf returns the runner with that unit, if there is one.
func (s Service) RunnerOf(unit string) (Runner, bool) {
	i := slices.IndexFunc(s.Runners, func(r Runner) bool { return r.Unit.Name == unit })
	if i < 0 {
		return Runner{}, false
	}
	return s.Runners[i], true
}

// is reports whether that is its unit.
func (r Runner) is(unit string) bool { return unit != "" && r.Unit.Name == unit }

// Rank orders runners by how far they serve: 2 serves, 1 may, 0 neither.
func (r Runner) Rank() int {
	switch {
	case r.Unit.ActiveState == "active":
		return 2
	case r.Live():
		return 1
	}
	return 0
}

// Stopped reports whether the manager has been stopped.
func (s Service) Stopped() bool {
	return (s.Manager.ActiveState == "inactive" || s.Manager.ActiveState == "failed") && s.Manager.JobId == 0
}

// Up reports whether the manager is active, or is in its start.
func (s Service) Up() bool {
	return s.Manager.ActiveState == "active" || s.Manager.ActiveState == "reloading" || s.Manager.ActiveState == "activating" && !strings.HasPrefix(s.Manager.SubState, "auto-restart")
}

// Why says for each runner why it does not serve.
func (s Service) Why() string {
	var reasons []string
	for _, r := range s.Runners {
		reasons = append(reasons, r.Mark()+" "+r.Why())
	}
	if len(reasons) == 0 {
		return "it has no valid revision; see journalctl -u sm-fetch"
	}
	return strings.Join(reasons, "; ")
}

// Live reports whether the unit runs, starts, stops, waits for its next start, or
// has a job that it does one of these for.
func (r Runner) Live() bool { return systemd.Busy(r.Unit) }

// Why says what a runner does, or why it does not serve.
func (r Runner) Why() string {
	what := r.Unit.ActiveState
	switch {
	case r.Unit.LoadState == "masked":
		return fmt.Sprintf("is masked, so it cannot start; run systemctl unmask %s", r.Unit.Name)
	case r.Unit.LoadState == "not-found":
		return "has no unit until systemd reloads; sm-fetch asks for that, or run systemctl daemon-reload"
	case r.Unit.LoadState != "loaded":
		return fmt.Sprintf("has no unit (%s); run systemctl daemon-reload", r.Unit.LoadState)
	case r.Rejected && !r.Live():
		return "was rejected: " + r.Reason
	case what == "inactive":
		return "is stopped"
	case what == "failed":
		what = "has failed"
	default:
		what = "is " + what
	}
	if r.Status != "" {
		what += ": " + r.Status
	}
	return what
}
