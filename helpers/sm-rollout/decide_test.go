package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/overview"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// Every state that a manager's start can meet, and what it does.
func TestPlanStart(t *testing.T) {
	unit := func(load, active, sub, job string) dbus.UnitStatus {
		u := dbus.UnitStatus{LoadState: load, ActiveState: active, SubState: sub, JobType: job}
		if job != "" {
			u.JobId = 1
		}
		return u
	}
	var (
		active   = unit("loaded", "active", "running", "")
		inactive = unit("loaded", "inactive", "dead", "")
		dead     = unit("loaded", "failed", "failed", "")
		pausing  = unit("loaded", "activating", "auto-restart", "")
		starting = unit("loaded", "activating", "start-pre", "start")
		queued   = unit("loaded", "inactive", "dead", "start")
		stopping = unit("loaded", "deactivating", "stop", "stop")
		masked   = unit("masked", "inactive", "dead", "")
		unknown  = unit("not-found", "inactive", "dead", "")
	)
	const none = ""
	tests := []struct {
		name                string
		good, current       name.Rev
		goodUnit, newUnit   dbus.UnitStatus
		rejected, restarted bool
		tried               name.Rev
		verdict             verdict
		start               []name.Rev
	}{
		{name: "boot", good: one, current: one, goodUnit: inactive, verdict: waits, start: []name.Rev{one}},
		{name: "boot with a fix pending", good: one, current: two, goodUnit: inactive, newUnit: inactive, verdict: waits, start: []name.Rev{one, two}},
		{name: "the first revision", current: two, newUnit: inactive, verdict: waits, start: []name.Rev{two}},
		{name: "good serves", good: one, current: one, goodUnit: active, verdict: served},
		{name: "good serves, a fix is pending", good: one, current: two, goodUnit: active, newUnit: inactive, verdict: served, start: []name.Rev{two}},
		{name: "good crash-loops, the fix starts", good: one, current: two, goodUnit: pausing, newUnit: starting, verdict: waits},
		{name: "good crash-loops, the fix serves", good: one, current: two, goodUnit: pausing, newUnit: active, verdict: served},
		{name: "good crash-loops, the fix was rejected", good: one, current: two, goodUnit: pausing, newUnit: dead, rejected: true, verdict: waits},
		{name: "queued", good: one, current: one, goodUnit: queued, verdict: waits},
		{name: "good is stopping from before", good: one, current: one, goodUnit: stopping, verdict: waits},
		{name: "good was started and then stopped by hand", good: one, current: one, goodUnit: inactive, tried: one, verdict: failed},
		{name: "everything is rejected", current: two, newUnit: dead, rejected: true, verdict: failed},
		{name: "everything is rejected, and systemd has tried again", current: two, newUnit: dead, rejected: true, restarted: true, verdict: waits},
		{name: "systemd has tried again, and a reload brings a revision", current: two, newUnit: inactive, restarted: true, verdict: waits, start: []name.Rev{two}},
		{name: "a rejected one is started by hand", current: two, newUnit: starting, rejected: true, restarted: true, verdict: waits},
		{name: "a rejected one serves", current: two, newUnit: active, rejected: true, restarted: true, verdict: served},
		{name: "good is masked", good: one, current: one, goodUnit: masked, verdict: failed},
		{name: "the fix is masked", good: one, current: two, goodUnit: active, newUnit: masked, verdict: served},
		{name: "systemd does not know it yet", current: two, newUnit: unknown, restarted: true, verdict: waits},
		{name: "no revision", verdict: failed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := scene{overview.Service{Name: "web", Good: test.good, Current: test.current}}
			if test.good != none {
				s.Replicas = 1
			}
			if test.good != none {
				s.Runners = append(s.Runners, runnerOf(test.good, test.goodUnit))
			}
			if test.current != none && test.current != test.good {
				one := runnerOf(test.current, test.newUnit)
				one.Rejected, one.Reason = test.rejected, "not healthy"
				s.Runners = append(s.Runners, one)
			}
			plan := s.planStart(map[string]bool{s.unit(test.tried): true}, test.restarted)
			var start []name.Rev
			for _, runner := range plan.start {
				start = append(start, runner.Rev)
			}
			if plan.verdict != test.verdict || !slices.Equal(start, test.start) {
				t.Errorf("planStart = %+v; want verdict %d, start %v", plan, test.verdict, test.start)
			}
			if test.rejected && plan.verdict == failed && !strings.Contains(plan.status, two+" was rejected: not healthy") {
				t.Errorf("the status %q gives no reason", plan.status)
			}
		})
	}
}

func TestPlanReject(t *testing.T) {
	for _, test := range []struct {
		name               string
		rev, good, current name.Rev
		ending             ending
		want               rejectPlan
	}{
		{"a new one fails", two, one, two, ending{result: "exit-code"}, rejectPlan{reject: true}},
		{"the first one fails", two, "", two, ending{result: "exit-code"}, rejectPlan{reject: true}},
		{"it is stopped in its start", two, one, two, ending{result: "exit-code", stopRequested: true, stopped: true}, rejectPlan{note: true, abandon: true}},
		{"it is stopped, and had served", two, one, two, ending{result: "success", stopRequested: true, stopped: true}, rejectPlan{abandon: true}},
		{"it is restarted in its start", two, one, two, ending{result: "exit-code", stopRequested: true, restarted: true}, rejectPlan{note: true, keep: true}},
		{"the good one is stopped", two, two, two, ending{result: "exit-code", stopRequested: true, stopped: true}, rejectPlan{}},
		{"an old one is stopped", one, two, two, ending{result: "exit-code", stopRequested: true, stopped: true}, rejectPlan{}},
		{"the good one dies, and systemd starts it", two, two, two, ending{result: "exit-code", restarts: true}, rejectPlan{count: true}},
		{"the good one dies, and systemd does not yet", two, two, two, ending{result: "exit-code"}, rejectPlan{start: true, count: true}},
		{"the good one ends well", two, two, two, ending{result: "success"}, rejectPlan{start: true, count: true}},
		{"one that was to replace a good one fails", two, two, two, ending{result: "exit-code", beside: true}, rejectPlan{stop: true}},
		{"one that has replaced a good one dies", two, two, two, ending{result: "exit-code", beside: true, served: true, restarts: true}, rejectPlan{count: true}},
		{"an old one fails", one, two, three, ending{result: "exit-code"}, rejectPlan{}},
		{"one that was replaced ends well", two, one, two, ending{result: "success"}, rejectPlan{}},
		{"one that waits for the others of its revision ends well", two, one, two, ending{result: "success", ready: true}, rejectPlan{reject: true}},
		{"one that runs alone fails", two, one, two, ending{result: "exit-code", alone: true}, rejectPlan{reject: true}},
		{"the host fails one that runs alone", two, one, two, ending{result: "exit-code", alone: true, hostFailed: true}, rejectPlan{reject: true}},
		{"the host fails the first one, which runs alone", two, "", two, ending{result: "exit-code", alone: true, hostFailed: true}, rejectPlan{start: true, count: true}},
		{"the host fails", two, one, two, ending{result: "exit-code", hostFailed: true}, rejectPlan{start: true, count: true}},
		{"the host fails, and systemd starts it", two, one, two, ending{result: "exit-code", hostFailed: true, restarts: true}, rejectPlan{count: true}},
		{"a helper of the first one was killed", two, "", two, ending{result: "signal", killed: true}, rejectPlan{start: true, count: true}},
		{"so often that it is its fault", two, "", two, ending{result: "signal", killed: true, failures: killsForgiven}, rejectPlan{reject: true}},
		{"a helper of a new one was killed", two, one, two, ending{result: "signal", killed: true}, rejectPlan{reject: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := planReject(test.rev, test.good, test.current, test.ending); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestPlanSettle(t *testing.T) {
	tests := []struct {
		name          string
		good, current name.Rev
		active, job   string
		rejected      bool
		failures      int
		ready         bool
		stopped       bool
		hostFailed    bool
		want          settlement
	}{
		{name: "accepted", good: two, current: two, active: "active", want: settled},
		{name: "neither accepted nor rejected", good: one, current: two, active: "active", want: again},
		{name: "accepted, and others have yet to serve", good: one, current: two, active: "active", ready: true, want: settled},
		{name: "accepted, and replaced before others served", good: one, current: three, active: "active", ready: true, want: retireIt},
		{name: "again and again", good: one, current: two, active: "active", failures: attempts, want: rejectIt},
		{name: "replaced while it started", good: one, current: three, active: "active", want: retireIt},
		{name: "rejected", good: one, current: two, active: "failed", rejected: true, want: tidy},
		{name: "failed, and no one has recorded it", good: one, current: two, active: "failed", want: recordOnly},
		{name: "failed for want of something of the host's", good: one, current: two, active: "failed", failures: 1, want: tryAgain},
		{name: "the same, and it was not counted", good: one, current: two, active: "failed", hostFailed: true, want: tryAgain},
		{name: "failed because it was stopped in its start", good: one, current: two, active: "failed", stopped: true, want: tidy},
		{name: "stopped by hand", good: one, current: two, active: "inactive", want: tidy},
		{name: "replaced, and its unit is gone", good: one, current: three, active: "failed", want: tidy},
		{name: "being stopped", good: one, current: two, active: "active", job: "stop", want: settled},
		{name: "started again by now", good: one, current: two, active: "activating", job: "start", want: starts},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := dbus.UnitStatus{Name: "web@" + two + ".service", ActiveState: test.active, JobType: test.job}
			if test.job != "" {
				u.JobId = 1
			}
			s := scene{overview.Service{Name: "web", Good: test.good, Current: test.current, Runners: []overview.Runner{{Runner: web.Revision(two).First(), Unit: u, Rejected: test.rejected}}}}
			if got := s.planSettle(web.Revision(two).First(), test.failures, test.ready, test.stopped, test.hostFailed); got != test.want {
				t.Errorf("planSettle = %d; want %d", got, test.want)
			}
		})
	}
}

func TestAwaitsGood(t *testing.T) {
	for _, test := range []struct {
		name, manager, good, sub, job string
		current                       name.Rev
		waited                        time.Duration
		want                          bool
	}{
		{"good serves", "active", "active", "running", "", two, 0, false},
		{"good starts", "active", "activating", "start-post", "start", two, time.Hour, true},
		{"good is queued", "active", "inactive", "dead", "start", two, time.Hour, true},
		{"good pauses after a failure", "activating", "activating", "auto-restart", "", two, 0, false},
		{"good has failed", "activating", "failed", "failed", "", two, 0, false},
		{"good is about to be started by the manager", "activating", "inactive", "dead", "", two, time.Second, true},
		{"the manager has not started it", "activating", "inactive", "dead", "", two, 3 * time.Second, false},
		{"good was stopped by hand", "active", "inactive", "dead", "", two, 0, false},
		{"this is not the current one", "active", "activating", "start-post", "start", three, 0, false},
	} {
		s := scene{overview.Service{Good: one, Current: test.current, Manager: dbus.UnitStatus{ActiveState: test.manager},
			Runners: []overview.Runner{{Runner: web.Revision(one).First(), Unit: dbus.UnitStatus{LoadState: "loaded", ActiveState: test.good, SubState: test.sub, JobType: test.job}}}}}
		if got := s.awaitsGood(two, test.waited); got != test.want {
			t.Errorf("%s: awaitsGood = %t; want %t", test.name, got, test.want)
		}
	}
}

func TestPlanOutage(t *testing.T) {
	now := 2 * time.Hour
	for _, test := range []struct {
		name, manager, sub, job, runner string
		ago                             time.Duration
		want                            vigil
	}{
		{"it serves", "active", "exited", "", "active", time.Hour, over},
		{"it serves, and the manager waits for its next start", "activating", "auto-restart", "", "active", time.Hour, watching},
		{"for a moment", "active", "exited", "", "activating", time.Second, watching},
		{"for a minute", "active", "exited", "", "activating", time.Minute, outage},
		{"the manager was stopped in a pause", "inactive", "dead", "", "active", time.Hour, orphans},
		{"the manager is about to start", "inactive", "dead", "start", "active", time.Hour, watching},
	} {
		u := dbus.UnitStatus{ActiveState: test.manager, SubState: test.sub, JobType: test.job}
		if test.job != "" {
			u.JobId = 1
		}
		s := scene{overview.Service{Manager: u, Runners: []overview.Runner{{Runner: web.Revision(two).First(), Unit: dbus.UnitStatus{ActiveState: test.runner}}}}}
		if got := s.planOutage(now-test.ago, now); got != test.want {
			t.Errorf("%s: planOutage = %d; want %d", test.name, got, test.want)
		}
	}
}

func TestPace(t *testing.T) {
	r := rollout{store: revision.Store{Root: t.TempDir(), Run: t.TempDir()}}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		must(t, r.countFailure(web.Revision(two).First(), 2*time.Second))
		if p := r.pace(web.Revision(two).First()); p.pause() != want*time.Second || time.Until(p.next()) > want*time.Second {
			t.Errorf("after %d failures the pause is %v; want %v", i+1, p.pause(), want*time.Second)
		}
	}
	must(t, r.countFailure(web.Revision(two).First(), time.Hour))
	if p := r.pace(web.Revision(two).First()); p.failures != 1 {
		t.Errorf("after it has served for an hour, %d failures count; want 1", p.failures)
	}
	r.forgetPace(web.Revision(two).First())
	if p := r.pace(web.Revision(two).First()); p.pause() != 0 {
		t.Errorf("a pause of %v is left", p.pause())
	}
}

func TestTurns(t *testing.T) {
	r := rollout{store: revision.Store{Run: t.TempDir()}, starts: 2}
	starts := map[string]bool{"a": true, "b": true}
	stale := func(units []string) ([]string, error) {
		return slices.DeleteFunc(units, func(unit string) bool { return starts[unit] }), nil
	}
	turns := r.turns()
	take := func(unit string) bool {
		t.Helper()
		_ = os.Remove(turns.looked())
		taken, err := turns.take(unit, stale)
		must(t, err)
		return taken
	}
	if !take("a") || !take("b") || take("c") {
		t.Fatal("two turns are not what two units got and a third did not")
	}
	if !take("a") {
		t.Error("a unit does not keep its turn")
	}
	turns.release("a")
	starts["c"] = true
	if !take("c") {
		t.Error("a turn that was given back is not free")
	}
	if take("d") {
		t.Error("c has lost its turn")
	}
	starts["b"] = false
	starts["d"] = true
	if !take("d") || take("e") {
		t.Error("what no longer starts keeps its turn, or loses it for more than one")
	}
}

func noneStale([]string) ([]string, error) { return nil, nil }

// Of many that wait, one asks systemd about stale turns, every few seconds.
func TestTurnsAskSeldom(t *testing.T) {
	turns := rollout{store: revision.Store{Run: t.TempDir()}, starts: 1}.turns()
	asked := 0
	take := func(unit string) bool {
		t.Helper()
		another := rollout{store: revision.Store{Run: filepath.Dir(turns.folder)}, starts: 1}.turns()
		taken, err := another.take(unit, func([]string) ([]string, error) {
			if asked++; another.due() {
				t.Error("another one would ask meanwhile")
			}
			return nil, nil
		})
		must(t, err)
		return taken
	}
	if !take("a") {
		t.Fatal("no first turn")
	}
	for i := range 100 {
		if take(fmt.Sprintf("b%d", i)) {
			t.Fatal("more than one turn")
		}
	}
	if asked != 1 {
		t.Errorf("systemd was asked %d times", asked)
	}
	must(t, os.Chtimes(turns.looked(), time.Time{}, time.Now().Add(-lookForStale)))
	if take("b") || asked != 2 {
		t.Error("stale turns are not looked for again")
	}
	turns.release("a")
	if !take("b") {
		t.Error("there is a turn, and it is not taken")
	}
}

// Those that wait leave systemd alone for ever longer, until something happens to their
// service.
func TestRests(t *testing.T) {
	r := rollout{store: revision.Store{Root: t.TempDir(), Run: t.TempDir()}, starts: 9}
	rests := r.rests(web)
	expect := func(after string, want time.Duration) {
		t.Helper()
		if rests.next != want {
			t.Errorf("after %s the next rest takes %s; want %s", after, rests.next, want)
		}
	}
	expect("the beginning", firstRest)
	rest := func() {
		t.Helper()
		if !rests.rest(t.Context(), longRest) {
			t.Fatal("the context has ended")
		}
	}
	for i := range 2 {
		rest()
		expect("a rest", firstRest<<(i+1))
	}
	_, err := r.turns().take(name.Service("shop").Revision(one).First().Unit(), noneStale)
	must(t, err)
	rest()
	expect("a turn of another service", firstRest<<3)
	for what, f := range map[string]func() error{
		"a turn": func() error {
			_, err := r.turns().take(web.Revision(one).First().Unit(), noneStale)
			return err
		},
		"a mark":     r.ready(web.Revision(one).First()).set,
		"a revision": func() error { return os.MkdirAll(filepath.Join(r.store.Root, string(web)), 0o700) },
	} {
		rests.next = time.Hour
		done := make(chan bool)
		go func() { done <- rests.rest(t.Context(), longRest) }()
		must(t, f())
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s does not end a rest", what)
		}
		expect(what, firstRest)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if rests.rest(ended, longRest) {
		t.Error("it rests although the context has ended")
	}
}

// What mends a service need not wait for what it replaces.
func TestTurnsOfOneService(t *testing.T) {
	turns := rollout{store: revision.Store{Run: t.TempDir()}, starts: 1}.turns()
	take := func(rev name.Rev, service name.Service) bool {
		t.Helper()
		_ = os.Remove(turns.looked())
		taken, err := turns.take(service.Revision(rev).First().Unit(), noneStale)
		must(t, err)
		return taken
	}
	if !take(one, web) || take(one, "shop") {
		t.Fatal("one turn is not what the first service got and the second did not")
	}
	if !take(two, web) {
		t.Error("a newer revision waits for the one that it replaces")
	}
	if take(three, web) || take(one, "shop") {
		t.Error("more than one starts without a turn")
	}
}

func TestParallelStarts(t *testing.T) {
	for setting, want := range map[string]int{"": 8, "3": 3} {
		if n, err := parallelStarts(setting, 2); n != want || err != nil {
			t.Errorf("parallelStarts(%q) = %d, %v; want %d", setting, n, err, want)
		}
	}
	for _, setting := range []string{"0", "-1", "x"} {
		if n, err := parallelStarts(setting, 2); n != 8 || err == nil {
			t.Errorf("parallelStarts(%q) = %d, %v; want 8 and an error", setting, n, err)
		}
	}
}

func TestPlanRetire(t *testing.T) {
	for _, test := range []struct {
		name             string
		active, sub, job string
		want             retirement
	}{
		{"stopped", "inactive", "dead", "", leave},
		{"about to start", "inactive", "dead", "start", stopNow},
		{"failed", "failed", "failed", "", forget},
		{"failed, about to start", "failed", "failed", "start", stopNow},
		{"serves", "active", "running", "", stopNow},
		{"serves, about to restart", "active", "running", "restart", stopNow},
		{"drains", "deactivating", "stop", "stop", stopNow},
		{"waits for its turn", "activating", "start-pre", "start", cutShort},
		{"makes its container", "activating", "start", "start", cutShort},
		{"waits for its next start", "activating", "auto-restart", "", cutShort},
		{"waits for health, or has traffic", "activating", "start-post", "start", letStart},
	} {
		unit := dbus.UnitStatus{ActiveState: test.active, SubState: test.sub, JobType: test.job}
		if test.job != "" {
			unit.JobId = 1
		}
		if got := planRetire(unit); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

// runnerOf is the first runner of a revision.
func runnerOf(rev name.Rev, unit dbus.UnitStatus) overview.Runner {
	runner := web.Revision(rev).First()
	unit.Name = runner.Unit()
	return overview.Runner{Runner: runner, Unit: unit}
}

// Which replicas of the good revision are started, stopped, given back, or free for a
// renewal, by their states: active, starting, draining, inactive, failed.
func TestReplicaPlans(t *testing.T) {
	states := map[rune]dbus.UnitStatus{
		'a': {ActiveState: "active"}, 's': {ActiveState: "activating"}, 'i': {ActiveState: "inactive"}, 'f': {ActiveState: "failed"},
		'd': {ActiveState: "deactivating", JobId: 1, JobType: "stop"},
	}
	for _, test := range []struct {
		replicas                    int
		runners                     string // by number
		missing, surplus, givenBack string // numbers
		spare                       int    // 0 for none
	}{
		{1, "a", "", "", "", 2},
		{1, "i", "1", "", "1", 1},
		{1, "f", "1", "", "1", 1},
		{1, "s", "", "", "1", 2},
		{1, "d", "", "", "1", 2},
		{1, "aa", "", "2", "", 0},
		{1, "as", "", "2", "", 0},
		{1, "sa", "", "1", "", 0},
		{1, "ia", "", "", "", 1},
		{3, "aaa", "", "", "", 4},
		{3, "aia", "2", "", "2", 2},
		{3, "iii", "1 2 3", "", "1 2 3", 1},
		{3, "ada", "", "", "2", 4},
		{3, "aaaaa", "", "5 4", "", 0},
		{3, "aasaa", "", "3 5", "", 0},
		{3, "aad", "", "", "3", 4},
		{3, "iiiiaa", "1", "", "1", 1}, // what is beyond the number counts, and is not started
	} {
		t.Run(fmt.Sprintf("%d of %s", test.replicas, test.runners), func(t *testing.T) {
			s := scene{overview.Service{Name: web, Good: one, Current: one, Replicas: test.replicas, Manager: dbus.UnitStatus{ActiveState: "active"}}}
			for i, runner := range web.Revision(one).Runners(len(test.runners)) {
				unit := states[rune(test.runners[i])]
				unit.LoadState, unit.Name = "loaded", runner.Unit()
				s.Runners = append(s.Runners, overview.Runner{Runner: runner, Unit: unit})
			}
			numbers := func(runners []name.Runner) string {
				var all []string
				for _, runner := range runners {
					all = append(all, strconv.Itoa(runner.Number))
				}
				return strings.Join(all, " ")
			}
			var back []name.Runner
			for _, unit := range s.givenBack(two) {
				runner, err := name.ParseUnit(unit)
				must(t, err)
				back = append(back, runner)
			}
			spare, _ := s.spare()
			if missing, surplus, givenBack := numbers(s.missing(nil)), numbers(s.surplus()), numbers(back); missing != test.missing || surplus != test.surplus || givenBack != test.givenBack || spare.Number != test.spare {
				t.Errorf("missing %q, surplus %q, given back %q, spare %d; want %q, %q, %q, %d", missing, surplus, givenBack, spare.Number, test.missing, test.surplus, test.givenBack, test.spare)
			}
		})
	}
}
