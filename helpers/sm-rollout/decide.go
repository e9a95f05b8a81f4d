package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/overview"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
)

// scene is what sm-rollout decides by. What follows only decides: each function turns
// what is into what is to be done.
type scene struct{ overview.Service }

// verdict is what becomes of a manager's start.
type verdict int

const (
	waits verdict = iota // a runner may serve yet
	served
	failed // nothing will serve
)

// startPlan is what a manager's start does next.
type startPlan struct {
	verdict verdict
	start   []name.Runner
	status  string
	live    bool // a runner is on its way
}

// planStart decides about a manager's start. tried are the units that it has started, or
// seen starting: one that stops after that was stopped, or has failed. restarted says
// that systemd has tried the start before. It does not fail again then: nothing else
// would start what a reload brings.
func (s scene) planStart(tried map[string]bool, restarted bool) startPlan {
	if s.Serves("") {
		return startPlan{verdict: served, start: s.toStart(tried), status: "serving"}
	}
	start := s.toStart(tried)
	switch {
	case len(start) > 0:
		return startPlan{verdict: waits, start: start, status: "starting"}
	case s.MayServe(""):
		return startPlan{verdict: waits, status: "waiting: " + s.Why(), live: true}
	case restarted:
		return startPlan{verdict: waits, status: fmt.Sprintf("nothing serves: %s; waiting for an edit, or for systemctl start of a revision", s.Why())}
	}
	return startPlan{verdict: failed, status: fmt.Sprintf("%s: nothing will serve: %s", s.Name, s.Why())}
}

// toStart returns the runners that a manager's start has to start. The others of a
// pending revision start with its first one.
func (s scene) toStart(tried map[string]bool) []name.Runner {
	start := s.missing(tried)
	if !s.Pending() {
		return start
	}
	one, ok := s.RunnerOf(s.unit(s.Current))
	if ok && !tried[one.Unit.Name] && one.Unit.LoadState == "loaded" && !one.Live() {
		start = append(start, one.Runner)
	}
	return start
}

// ending is how a runner's unit has ended.
type ending struct {
	result        string // $SERVICE_RESULT
	stopRequested bool   // it is being stopped or restarted
	stopped       bool   // it is being stopped for good, and its revision was not rejected
	restarted     bool   // it is being restarted
	alone         bool   // it has replaced the good revision
	hostFailed    bool   // the host is why it failed
	killed        bool   // a helper was killed by SIGKILL
	first         string // the helper that failed first, if known
	restarts      bool   // systemd starts it again by itself
	beside        bool   // as many others of the revision serve as it is to have
	served        bool   // it has served before it ended
	ready         bool   // it served while the others of its revision had yet to
	failures      int    // in a row, before this one
}

// killsForgiven is how often a first revision may lose a helper to SIGKILL before
// it is rejected.
const killsForgiven = 3

// rejectPlan is what to do about a runner that has ended.
type rejectPlan struct {
	reject  bool // record that it failed
	start   bool // start it again
	stop    bool // keep systemd from starting it again
	count   bool // one more failure in a row
	note    bool // note that it was stopped
	abandon bool // stop the others of its revision
	keep    bool // keep the count of its failures: it is being started again
}

// planReject decides about a revision whose runner has ended.
func planReject(rev, good, current name.Rev, e ending) rejectPlan {
	switch {
	case e.stopRequested && rev == current && rev != good:
		// Without their stop, the others would stay pending for ever.
		return rejectPlan{note: e.result != "success", abandon: e.stopped, keep: e.restarted}
	case e.stopRequested:
		return rejectPlan{}
	case rev == good && e.beside && !e.served:
		// It was to replace one that keeps serving.
		return rejectPlan{stop: true}
	case rev == good:
		// It is started again however it ended. systemd may not do that yet: it has to
		// read first that the revision is good.
		return rejectPlan{start: !e.restarts, count: true}
	case rev != current || e.result == "success" && !e.ready:
		// It has been replaced, and may have served before; what failed is its stop.
		return rejectPlan{}
	case e.alone && good != "":
		// Another try would stop the good one again.
		return rejectPlan{reject: true}
	case e.hostFailed, e.killed && good == "" && e.failures < killsForgiven:
		return rejectPlan{start: !e.restarts, count: true}
	}
	return rejectPlan{reject: true}
}

// settlement is what becomes of a runner after its start.
type settlement int

const (
	settled    settlement = iota
	again                 // start it again: its start was cut short
	rejectIt              // record that it failed, and stop it
	retireIt              // stop it: it was replaced
	recordOnly            // record that it failed: that was not done
	tryAgain              // start it again: what failed was not the revision's
	starts                // it starts again by now: look later
	tidy                  // delete its record: it has ended, perhaps when systemd had no command of it left
)

// attempts is how often a start that was cut short is repeated.
const attempts = 3

// planSettle decides about a runner whose start is over. systemd drops the rest of
// a start whose commands a reload has changed, without a word; the runner is active
// then, but may have been neither checked, nor given traffic, nor accepted. ready says that
// it was, and that others of its revision have yet to serve; stopped, that its start ended
// because it was to stop; hostFailed, that the host is why it failed, and that another
// try would stop no one.
func (s scene) planSettle(runner name.Runner, failures int, ready, stopped, hostFailed bool) settlement {
	one, ok := s.RunnerOf(runner.Unit())
	rev := runner.Rev
	switch {
	case rev == s.Good || one.Unit.JobType == "stop":
		return settled
	case !ok:
		return tidy
	case one.Unit.JobId != 0 || one.Unit.ActiveState == "activating" || one.Unit.ActiveState == "deactivating":
		return starts
	case one.Unit.ActiveState == "failed" && rev == s.Current && !one.Rejected && !stopped:
		if failures > 0 || hostFailed {
			// reject has counted it, unless the disk is full. A start that it asks for ends
			// together with the one that failed.
			return tryAgain
		}
		return recordOnly
	case one.Unit.ActiveState != "active":
		return tidy
	case rev != s.Current:
		return retireIt
	case ready:
		return settled
	case failures < attempts:
		return again
	}
	return rejectIt
}

// retirement is what becomes of a runner that has been replaced.
type retirement int

const (
	leave    retirement = iota // it has stopped
	forget                     // clear its failed state: systemctl --failed lists what needs attention
	stopNow                    // its stop drains it
	cutShort                   // stop its start, which has not come to traffic, and itself if it starts anyway
	letStart                   // it may have connections, which a stop of its start would cut: end its health check, and stop it once it has started
)

// planRetire decides about a runner that has been replaced.
func planRetire(runner dbus.UnitStatus) retirement {
	switch {
	case runner.JobId == 0 && runner.ActiveState == "inactive":
		return leave
	case runner.JobId == 0 && runner.ActiveState == "failed":
		return forget
	case runner.ActiveState != "activating":
		return stopNow
	case runner.SubState != systemd.StartPost:
		return cutShort
	}
	return letStart
}

// vigil is what becomes of the watch for an outage.
type vigil int

const (
	watching vigil = iota
	over           // the service serves, or is not meant to
	outage         // nothing has served for too long
	orphans        // the manager was stopped when it could run no command
)

// patience is how long a service may have nothing that serves before that counts as an
// outage.
const patience = time.Minute

// planOutage decides about a service that may have an outage since the given time; both are
// on the clock of Conn.Uptime.
func (s scene) planOutage(since, now time.Duration) vigil {
	switch {
	case s.Stopped():
		return orphans
	case s.Serves(""):
		if s.Up() {
			return over
		}
		return watching
	case now-since >= patience:
		return outage
	}
	return watching
}

// watchOutage reports whether to watch for an outage once the runner with that unit has
// ended.
func (s scene) watchOutage(ended string) bool {
	return !s.Stopped() && s.Manager.JobType != "stop" && s.Manager.LoadState == "loaded" && !s.Serves(ended)
}

// soon is how long a manager that starts may take to start its runners.
const soon = 2 * time.Second

// awaitsGood reports whether a revision that must run alone waits for the good one, which
// is starting, or about to, before it replaces that: otherwise clients would have neither
// of them for longer. waited is how long it has done so.
func (s scene) awaitsGood(rev name.Rev, waited time.Duration) bool {
	good, ok := s.Runner(s.Good)
	switch {
	case !ok || rev == s.Good || rev != s.Current || good.Unit.LoadState != "loaded":
		return false
	case good.Unit.JobType == "start":
		return true
	case good.Unit.ActiveState == "activating":
		return !strings.HasPrefix(good.Unit.SubState, "auto-restart")
	}
	return good.Unit.ActiveState == "inactive" && s.Manager.ActiveState == "activating" && waited < soon
}

// givenBack returns the runners of the good revision to start again after the end of one
// that has stopped them.
func (s scene) givenBack(ended name.Rev) (units []string) {
	one, _ := s.Runner(ended)
	switch {
	case s.Good == ended, s.Stopped(), s.Manager.JobType == "stop":
		return nil
	case one.Unit.JobType == "restart", one.Unit.JobType == "try-restart":
		return nil // it would stop them again
	}
	serve := 0
	for _, r := range s.Of(s.Good) {
		switch {
		case keepsServing(r):
			serve++
		case r.Number <= s.Replicas && r.Unit.LoadState == "loaded" && r.Unit.ActiveState != "active":
			units = append(units, r.Unit.Name)
		}
	}
	return units[:max(0, min(len(units), s.Replicas-serve))]
}

// stopsRunners reports whether the end of the manager is the end of its runners.
// By hand, it is.
func (s scene) stopsRunners(byHand bool) bool {
	return byHand || s.Manager.JobType == "stop"
}

// unit returns the unit that runs a revision, or would.
func (s scene) unit(rev name.Rev) string { return s.Name.Revision(rev).First().Unit() }
