package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/units/name"
)

// scene is what is known of a service at one moment, on disk and in systemd.
type scene struct {
	service       name.Service
	good, current name.Rev
	manager       dbus.UnitStatus
	runners       []runner // those of good and current, and those that systemd has loaded
}

// runner is one runner of a service.
type runner struct {
	name.Revision
	unit     dbus.UnitStatus
	said     string // its status text
	rejected bool
	reason   string // why it was rejected
}

// look returns what is the case now.
func (r rollout) look(ctx context.Context, conn systemdConn, service name.Service) (s scene, err error) {
	s.service = service
	if s.good, err = r.store.Good(service); err != nil {
		return s, err
	}
	if s.current, err = r.store.Current(service); err != nil {
		return s, err
	}
	if s.manager, err = conn.State(ctx, service.Manager()); err != nil {
		return s, err
	}
	states, err := conn.Runners(ctx, service)
	if err != nil {
		return s, err
	}
	for _, rev := range []name.Rev{s.good, s.current} {
		if rev == "" || s.has(states, rev) {
			continue
		}
		// Asking makes systemd load the unit.
		state, err := conn.State(ctx, service.Revision(rev).Unit())
		if err != nil {
			return s, err
		}
		states = append(states, state)
	}
	for _, state := range states {
		one := runner{unit: state}
		if one.Revision, err = name.ParseUnit(state.Name); err != nil {
			return s, fmt.Errorf("%s is no runner: %w", state.Name, err)
		}
		if one.reason, one.rejected, err = r.store.Failed(one.Revision); err != nil {
			return s, err
		}
		if state.LoadState == "loaded" {
			if one.said, err = conn.StatusText(ctx, state.Name); err != nil {
				return s, err
			}
		}
		s.runners = append(s.runners, one)
	}
	return s, nil
}

func (s scene) has(states []dbus.UnitStatus, rev name.Rev) bool {
	for _, state := range states {
		if state.Name == s.unit(rev) {
			return true
		}
	}
	return false
}

// serves reports whether a runner has got through its start. A revision that is
// not to be counted may be given.
func (s scene) serves(except name.Rev) bool {
	for _, r := range s.runners {
		if r.Rev != except && r.unit.ActiveState == "active" {
			return true
		}
	}
	return false
}

// mayServe reports whether a runner may serve without help.
func (s scene) mayServe() bool {
	for _, r := range s.runners {
		if r.live() {
			return true
		}
	}
	return false
}

// pending reports whether current has still to become good.
func (s scene) pending() bool {
	if s.current == "" || s.current == s.good {
		return false
	}
	one, ok := s.runner(s.current)
	return !ok || !one.rejected
}

func (s scene) runner(rev name.Rev) (runner, bool) {
	for _, r := range s.runners {
		if r.Rev == rev {
			return r, true
		}
	}
	return runner{}, false
}

// stopped reports whether the manager has been stopped.
func (s scene) stopped() bool {
	return (s.manager.ActiveState == "inactive" || s.manager.ActiveState == "failed") && s.manager.JobId == 0
}

// up reports whether the manager is active, or is in its start.
func (s scene) up() bool {
	return s.manager.ActiveState == "active" || s.manager.ActiveState == "activating" && !strings.HasPrefix(s.manager.SubState, "auto-restart")
}

// why says of every runner why it does not serve.
func (s scene) why() string {
	var reasons []string
	for _, r := range s.runners {
		reasons = append(reasons, string(r.Rev)+" "+r.why())
	}
	if len(reasons) == 0 {
		return "it has no valid revision; see journalctl -u sm-fetch"
	}
	return strings.Join(reasons, "; ")
}

// live reports whether the unit runs, starts, stops, waits for its next start, or
// has a job that it does one of these for.
func (r runner) live() bool {
	return r.unit.JobId != 0 || r.unit.ActiveState != "inactive" && r.unit.ActiveState != "failed"
}

func (r runner) why() string {
	what := r.unit.ActiveState
	switch {
	case r.unit.LoadState == "masked":
		return fmt.Sprintf("is masked, so it cannot start; run systemctl unmask %s", r.unit.Name)
	case r.unit.LoadState == "not-found":
		return "has no unit before the next reload; sm-fetch asks for one, or run systemctl daemon-reload"
	case r.unit.LoadState != "loaded":
		return fmt.Sprintf("has no unit (%s); run systemctl daemon-reload", r.unit.LoadState)
	case r.rejected && !r.live():
		return "was rejected: " + r.reason
	case what == "inactive":
		return "is stopped"
	case what == "failed":
		what = "has failed"
	default:
		what = "is " + what
	}
	if r.said != "" {
		what += ": " + r.said
	}
	return what
}
