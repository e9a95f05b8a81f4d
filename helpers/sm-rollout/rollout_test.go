package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
	"service-manager/helpers/internal/overview"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
	"service-manager/units/revision"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sm-rollout": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// recorder stands in for systemd: it records what it is asked for. Real jobs are the
// machine tests' business; here it is what sm-rollout decides.
type recorder struct {
	asked     []string
	units     map[string]dbus.UnitStatus // all others are loaded and inactive
	restarts  bool                       // systemd restarts runners by itself
	again     int                        // how often it has restarted the manager
	exits     []systemd.Exit
	stopping  bool // the runner has a stop job
	lost      int  // how often the connection is lost
	lostStart int  // how often it is lost while a start is waited for
	status    string
	fail      error
	result    string
	forgotten bool   // systemd knows nothing of units' pasts
	noDocker  bool   // Docker was stopped after the runner had begun to start
	failStart error  // of a start that is waited for
	oldest    string // the unit that has been active for longest
	looks     int    // how often units are looked at before what deactivates is inactive
}

func (r *recorder) record(format string, args ...any) error {
	r.asked = append(r.asked, fmt.Sprintf(format, args...))
	return errors.Join(r.lose(), r.fail)
}

// lose loses the connection as often as it should be lost.
func (r *recorder) lose() error {
	if r.lost == 0 {
		return nil
	}
	r.lost--
	return fmt.Errorf("ask: %w", systemd.ErrConnectionLost)
}

func (r *recorder) State(_ context.Context, unit string) (dbus.UnitStatus, error) {
	u, ok := r.units[unit]
	if !ok {
		u.LoadState, u.ActiveState = "loaded", "inactive"
		if r.stopping && strings.HasPrefix(unit, "web@2-") {
			u.JobId, u.JobType = 1, "stop"
		}
	}
	if u.ActiveState == "deactivating" && r.looks > 0 {
		if r.looks--; r.looks == 0 {
			u.ActiveState = "inactive"
			r.units[unit] = u
		}
	}
	u.Name = unit
	return u, r.lose()
}

func (r *recorder) Runners(_ context.Context, service name.Service) (runners []dbus.UnitStatus, err error) {
	for _, unit := range slices.Sorted(maps.Keys(r.units)) {
		if runner, err := name.ParseUnit(unit); err == nil && runner.Service == service {
			one, err := r.State(context.Background(), unit)
			if err != nil {
				return nil, err
			}
			runners = append(runners, one)
		}
	}
	return runners, nil
}

// Start starts what a start activates at once.
func (r *recorder) Start(_ context.Context, unit string) (bool, error) {
	err := r.record("start %s", unit)
	if state := r.units[unit]; state.SubState == "ready" {
		state.ActiveState = "active"
		r.units[unit] = state
	}
	return true, err
}

func (r *recorder) ControlPID(context.Context, string) (int, error) { return 0, nil }
func (r *recorder) StartAgain(_ context.Context, unit string) error {
	return r.record("start %s again", unit)
}
func (r *recorder) StartAndWait(_ context.Context, unit string) error {
	err := errors.Join(r.record("start %s, and wait", unit), r.failStart)
	if err == nil && r.lostStart > 0 {
		r.lostStart--
		return systemd.ErrConnectionLost
	}
	return err
}
func (r *recorder) TryRestartAndWait(_ context.Context, unit string) error {
	return r.record("restart %s, and wait", unit)
}
func (r *recorder) StopUnits(_ context.Context, names []string, _ string, _ func([]string)) error {
	return r.record("stop %s, and wait", strings.Join(names, " "))
}
func (r *recorder) Result(context.Context, string) (string, error) { return r.result, nil }
func (r *recorder) ReloadContext(context.Context) error            { return r.record("reload") }
func (r *recorder) StopRunners(_ context.Context, service name.Service, stays func(name.Rev) bool, _ func([]string)) error {
	but := ""
	for _, rev := range []name.Rev{one, two, three} {
		if stays != nil && stays(rev) {
			but += " but " + string(rev)
		}
	}
	return r.record("stop runners of %s%s", service, but)
}
func (r *recorder) RestartsByItself(context.Context, string) (bool, error) { return r.restarts, nil }
func (r *recorder) Restarts(context.Context, string) (int, error)          { return r.again, nil }
func (r *recorder) Uptime() time.Duration                                  { return 2 * time.Hour }
func (r *recorder) Exits(context.Context, string) ([]systemd.Exit, error)  { return r.exits, nil }
func (r *recorder) Activity(_ context.Context, unit string) (a systemd.Activity, err error) {
	if r.forgotten {
		return a, nil
	}
	a.Began = r.Uptime() - time.Hour
	if r.noDocker && unit == dockerUnit {
		a.Ended = r.Uptime()
	}
	if r.oldest != "" && unit != r.oldest {
		a.Active = r.Uptime()
	}
	return a, nil
}
func (r *recorder) Restart(_ context.Context, unit string) error { return r.record("restart %s", unit) }
func (r *recorder) Stop(_ context.Context, unit string) error    { return r.record("stop %s", unit) }
func (r *recorder) ResetFailed(_ context.Context, unit string) error {
	return r.record("reset %s", unit)
}
func (r *recorder) StatusText(context.Context, string) (string, error) {
	return r.status, nil
}
func (r *recorder) Close() error { return nil }

const (
	one   = "1-11111111111111111111111111111111"
	two   = "2-22222222222222222222222222222222"
	three = "3-33333333333333333333333333333333"

	web = name.Service("web")
)

func TestOutcomes(t *testing.T) {
	older := map[string]dbus.UnitStatus{"web@" + one + ".service": {LoadState: "loaded", ActiveState: "active"}, "web@" + two + ".service": {LoadState: "loaded", ActiveState: "activating", SubState: "start-post"}}
	retire := []string{"stop web@" + one + ".service"}
	leave := []string{"start sm-retire@web@" + two + ".service"}
	outage := "start sm-outage@web.service"
	up := map[string]dbus.UnitStatus{"web@manager.service": {LoadState: "loaded", ActiveState: "active"}}
	with := func(name, active string) map[string]dbus.UnitStatus {
		m := maps.Clone(up)
		m[name] = dbus.UnitStatus{LoadState: "loaded", ActiveState: active, JobType: map[bool]string{true: "stop"}[name == "web@manager.service" && active == "deactivating"]}
		return m
	}
	const three3 = `"replicas":3,`
	// runners returns the units of the runners of revision two, by their numbers.
	runners := func(states ...string) map[string]dbus.UnitStatus {
		units := map[string]dbus.UnitStatus{}
		for i, state := range states {
			units[web.Revision(two).Runner(i+1).Unit()] = dbus.UnitStatus{LoadState: "loaded", ActiveState: state}
		}
		units["web@"+one+".service"] = dbus.UnitStatus{LoadState: "loaded", ActiveState: "active"}
		return units
	}
	managed := func(units map[string]dbus.UnitStatus) map[string]dbus.UnitStatus {
		maps.Copy(units, up)
		return units
	}
	// job returns a function that gives a runner of web a job of that kind.
	job := func(kind string) func(units map[string]dbus.UnitStatus, runner string) map[string]dbus.UnitStatus {
		return func(units map[string]dbus.UnitStatus, runner string) map[string]dbus.UnitStatus {
			unit := "web@" + runner + ".service"
			one := units[unit]
			one.JobId, one.JobType = 1, kind
			units[unit] = one
			return units
		}
	}
	stopping, restarting := job("stop"), job("restart")
	success := map[string]string{"SERVICE_RESULT": "success"}
	failure := map[string]string{"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "3"}
	tests := []struct {
		name          string
		current, good name.Rev
		recorded      bool // revision two has a run record
		alone         bool // revision two has replaced the others
		env           map[string]string
		systemd       recorder
		args          string
		wantError     string // part of it
		wantGood      name.Rev
		wantAsked     []string
		wantFailed    string // reason in the record of revision two, empty for none
		wantStatus    string
		wantFailures  int
		wantAlone     bool
		document      string // of all revisions
		ready         []int  // numbers of the runners of revision two that serve before it is good
		wantReady     []int
		rejected      string // why revision two was before
	}{
		{name: "a pending revision becomes good", current: two, good: one, args: "accept web " + two, systemd: recorder{units: older}, wantGood: two, wantAsked: retire, wantStatus: "serving"},
		{name: "the first revision becomes good", current: two, args: "accept web " + two, systemd: recorder{units: older}, wantGood: two, wantAsked: retire, wantStatus: "serving"},
		{name: "the same again retires what an interruption left", current: two, good: two, args: "accept web " + two, systemd: recorder{units: older}, wantGood: two, wantAsked: retire, wantStatus: "serving"},
		{name: "the good one serves until current does", current: three, good: two, args: "accept web " + two, wantGood: two, wantStatus: "serving"},
		{name: "replaced while it started", current: three, good: one, args: "accept web " + two, wantGood: one,
			wantAsked: leave, wantStatus: "stopping: replaced by " + three + " while it started"},
		{name: "replaced by one that serves already", current: three, good: three, args: "accept web " + two, wantGood: three,
			wantAsked: leave, wantStatus: "stopping: replaced by " + three + " while it started"},
		{name: "what was replaced cannot be stopped", current: three, good: three, args: "accept web " + two, systemd: recorder{fail: errors.New("no")}, wantGood: three,
			wantAsked: leave, wantStatus: "stopping: replaced by " + three + " while it started"},
		{name: "deleted while it started", good: one, args: "accept web " + two, wantGood: one,
			wantAsked: leave, wantStatus: "stopping: deleted while it started"},
		{name: "a failure to retire does not stop what serves", current: two, good: one, args: "accept web " + two, systemd: recorder{units: older, fail: errors.New("no")}, wantGood: two,
			wantAsked: retire, wantStatus: "serving"},
		{name: "accept continues when systemd re-executes itself", current: two, good: one, args: "accept web " + two, systemd: recorder{units: older, lost: 2}, wantGood: two,
			wantAsked: retire, wantStatus: "serving"},
		{name: "reject continues when systemd re-executes itself", current: two, good: one, env: failure, systemd: recorder{status: "not healthy", lost: 1},
			args: "reject web " + two, wantGood: one, wantFailed: "not healthy (exit-code; main process exited 3)\n", wantStatus: "rejected: not healthy (exit-code; main process exited 3)"},
		{name: "the main process is gone", current: two, good: one, env: map[string]string{"MAINPID": "999999999"}, args: "accept web " + two, wantGood: one,
			wantError: "web " + two + ": not accepted: the main process of the unit has ended"},

		{name: "a failed start is recorded with what the step said", current: two, good: one, env: failure, systemd: recorder{status: "not healthy after 60s"},
			args: "reject web " + two, wantGood: one, wantFailed: "not healthy after 60s (exit-code; main process exited 3)\n", wantStatus: "rejected: not healthy after 60s (exit-code; main process exited 3)"},
		{name: "a step that failed while the main process was well", current: two, env: map[string]string{"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}, systemd: recorder{status: "not healthy after 60s"},
			args: "reject web " + two, wantFailed: "not healthy after 60s (exit-code; main process exited 0)\n", wantStatus: "rejected: not healthy after 60s (exit-code; main process exited 0)"},
		{name: "a failed start without a word", current: two, env: map[string]string{"SERVICE_RESULT": "timeout"},
			args: "reject web " + two, wantFailed: "timeout; start_timeout gives it more time\n", wantStatus: "rejected: timeout; start_timeout gives it more time"},
		{name: "a helper that was killed", current: two, env: map[string]string{"SERVICE_RESULT": "signal", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}, systemd: recorder{status: "serving"},
			args: "reject web " + two, wantFailed: "a helper was killed after \"serving\" (signal; main process exited 0)\n", wantStatus: "rejected: a helper was killed after \"serving\" (signal; main process exited 0)"},
		{name: "an orderly stop is no failure", current: two, good: one, env: map[string]string{"SERVICE_RESULT": "success"}, args: "reject web " + two, wantGood: one},
		{name: "a good revision is never rejected", current: two, good: two, env: failure, systemd: recorder{restarts: true}, args: "reject web " + two, wantGood: two, wantFailures: 1},
		{name: "a good revision that systemd does not restart yet", current: two, good: two, env: failure, args: "reject web " + two, wantGood: two, wantFailures: 1,
			wantAsked: []string{"start web@" + two + ".service"}},
		{name: "a good revision that ended well, and systemd does not restart yet", current: two, good: two, env: map[string]string{"SERVICE_RESULT": "success"}, args: "reject web " + two, wantGood: two, wantFailures: 1,
			wantAsked: []string{"start web@" + two + ".service"}},
		{name: "a good revision that ended well, and systemd restarts", current: two, good: two, env: map[string]string{"SERVICE_RESULT": "success"}, systemd: recorder{restarts: true}, args: "reject web " + two, wantGood: two, wantFailures: 1},
		{name: "a good revision that is stopped in order", current: two, good: two, env: map[string]string{"SERVICE_RESULT": "success"}, systemd: recorder{stopping: true}, args: "reject web " + two, wantGood: two},
		{name: "a retired revision whose stop failed", current: three, good: three, env: failure, args: "reject web " + two, wantGood: three},
		{name: "a start that is stopped has not failed", current: two, good: one, env: failure, systemd: recorder{stopping: true}, args: "reject web " + two, wantGood: one},
		{name: "a good revision that is being stopped", current: two, good: two, env: failure, systemd: recorder{stopping: true}, args: "reject web " + two, wantGood: two},
		{name: "reject by hand", current: two, args: "reject web " + two, wantError: "SERVICE_RESULT is not set"},

		{name: "the reason is what failed first, with the field that changes it", current: two, good: one, env: map[string]string{"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "2"},
			systemd: recorder{status: "not healthy after 3s", exits: []systemd.Exit{{}, {Command: "sm-healthcheck", Status: 1}, {Command: "sm-docker-run", Status: 2}}}, args: "reject web " + two, wantGood: one,
			wantFailed: "not healthy after 3s (exit-code; main process exited 2); health_check.timeout gives it more time\n",
			wantStatus: "rejected: not healthy after 3s (exit-code; main process exited 2); health_check.timeout gives it more time"},
		{name: "a step took too long", current: two, good: one, env: map[string]string{"SERVICE_RESULT": "timeout"},
			systemd: recorder{status: "pulling"}, args: "reject web " + two, wantGood: one,
			wantFailed: "pulling (timeout); start_timeout gives it more time\n", wantStatus: "rejected: pulling (timeout); start_timeout gives it more time"},

		{name: "the host's failure is tried again", current: two, good: one, env: failure, systemd: recorder{exits: []systemd.Exit{{}, {Status: 75}}, restarts: false}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{"start web@" + two + ".service"}, wantFailures: 1},
		{name: "so is a wait that systemd has ended", current: two, good: one, env: map[string]string{"SERVICE_RESULT": "timeout"}, systemd: recorder{status: "waiting for its turn", exits: []systemd.Exit{{Command: "sm-rollout", Status: -15}}}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{"start web@" + two + ".service"}, wantFailures: 1},
		{name: "so is what ended with Docker", current: two, good: one, env: failure, systemd: recorder{exits: []systemd.Exit{{}, {Status: 143}}, noDocker: true}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{"start web@" + two + ".service"}, wantFailures: 1},
		{name: "a first revision whose helper was killed is tried again", current: two, env: failure, systemd: recorder{exits: []systemd.Exit{{Status: -9}}}, args: "reject web " + two,
			wantAsked: []string{"start web@" + two + ".service"}, wantFailures: 1},
		{name: "a good revision that dies while the manager is up", current: two, good: two, env: failure, systemd: recorder{restarts: true, units: up}, args: "reject web " + two, wantGood: two,
			wantAsked: []string{outage}, wantFailures: 1},
		{name: "a good revision that is stopped while the manager is up", current: two, good: two, env: failure, systemd: recorder{stopping: true, units: up}, args: "reject web " + two, wantGood: two,
			wantAsked: []string{outage}},
		{name: "another one serves", current: two, good: two, env: failure, systemd: recorder{restarts: true, units: with("web@"+one+".service", "active")}, args: "reject web " + two, wantGood: two, wantFailures: 1},
		{name: "accept clears an outage", current: two, good: one, args: "accept web " + two, systemd: recorder{units: with("sm-outage@web.service", "failed")}, wantGood: two,
			wantAsked: []string{"reset sm-outage@web.service"}, wantStatus: "serving"},

		{name: "one that must run alone stops the others, while clients wait", current: two, good: one, args: "replace web " + two, wantGood: one, systemd: recorder{units: older}, wantAlone: true,
			wantAsked: []string{"start sm-hold@web.service, and wait", "stop runners of web but " + two}},
		{name: "there is no other", current: two, good: two, args: "replace web " + two, wantGood: two, wantAlone: true,
			wantAsked: []string{"stop runners of web but " + two}},
		{name: "clients cannot be kept waiting", current: two, good: one, args: "replace web " + two, wantGood: one, systemd: recorder{units: older, fail: errors.New("no")},
			wantError: "web " + two + ": clients cannot be kept waiting: no", wantAsked: []string{"start sm-hold@web.service, and wait"}},
		{name: "replace continues when systemd re-executes itself", current: two, good: one, args: "replace web " + two, wantGood: one, systemd: recorder{units: older, lostStart: 1}, wantAlone: true,
			wantAsked: []string{"start sm-hold@web.service, and wait", "start sm-hold@web.service, and wait", "stop runners of web but " + two}},
		{name: "the good one stops none", current: three, good: two, args: "replace web " + two, wantGood: two},
		{name: "an old one does not start", current: three, good: one, args: "replace web " + two, wantGood: one, wantError: "web " + two + ": not started: it would replace " + three + ", which is current"},
		{name: "the good one comes back after one that fails", current: two, good: one, alone: true, env: failure, systemd: recorder{status: "not healthy", units: with("web@"+one+".service", "inactive")}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{outage, "start web@" + one + ".service again"}, wantFailed: "not healthy (exit-code; main process exited 3)\n", wantStatus: "rejected: not healthy (exit-code; main process exited 3)"},
		{name: "after one for which the host fails", current: two, good: one, alone: true, env: failure, systemd: recorder{status: "no space", exits: []systemd.Exit{{Status: 75}}, units: with("web@"+one+".service", "inactive")}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{outage, "start web@" + one + ".service again"}, wantFailed: "no space (exit-code; main process exited 3)\n", wantStatus: "rejected: no space (exit-code; main process exited 3)"},
		{name: "after one that is stopped", current: two, good: one, alone: true, env: success, systemd: recorder{stopping: true, units: with("web@"+one+".service", "deactivating")}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{outage, "start web@" + one + ".service again"}},
		{name: "after one that was replaced meanwhile", current: three, good: one, alone: true, env: success, systemd: recorder{stopping: true, units: with("web@"+one+".service", "inactive")}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{outage, "start web@" + one + ".service again"}},
		{name: "all replicas come back, except one that still serves", current: two, good: one, alone: true, document: three3, env: failure, systemd: recorder{status: "not healthy", units: with("web@"+one+":2.service", "active")}, args: "reject web " + two, wantGood: one,
			wantAsked: []string{"start web@" + one + ".service again", "start web@" + one + ":3.service again"}, wantFailed: "not healthy (exit-code; main process exited 3)\n", wantStatus: "rejected: not healthy (exit-code; main process exited 3)"},
		{name: "not when the service is stopped", current: two, good: one, alone: true, env: failure, systemd: recorder{stopping: true, units: with("web@manager.service", "deactivating")}, args: "reject web " + two, wantGood: one},
		{name: "not when it is good itself", current: two, good: two, alone: true, env: failure, systemd: recorder{restarts: true, units: up}, args: "reject web " + two, wantGood: two, wantAsked: []string{outage}, wantFailures: 1},
		{name: "also when its reject was killed", current: two, good: one, alone: true, args: "settle web@" + two, wantGood: one, wantFailed: "pulling\n",
			systemd: recorder{status: "pulling", units: with("web@"+two+".service", "failed")}, wantAsked: []string{"start web@" + one + ".service again"}},

		{name: "its reject could count nothing, and the host had failed", current: two, good: one, args: "settle web@" + two, ready: []int{1}, wantGood: one, wantReady: []int{1},
			systemd: recorder{status: "no space", exits: []systemd.Exit{{Status: 75}}, units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "failed", SubState: "ready"}}}, wantAsked: []string{"start web@" + two + ".service"}},
		{name: "the same of one that must run alone: another try would stop the good one", current: two, good: one, alone: true, args: "settle web@" + two, wantGood: one, wantFailed: "no space\n",
			systemd: recorder{status: "no space", exits: []systemd.Exit{{Status: 75}}, units: with("web@"+two+".service", "failed")}, wantAsked: []string{"start web@" + one + ".service again"}},

		{name: "stop by hand", current: two, good: two, args: "stop web", wantGood: two, wantAsked: []string{"stop runners of web", "stop sm-outage@web.service"}, wantStatus: "stopped"},
		{name: "the manager is stopped", current: two, good: two, args: "stop web", env: success, wantGood: two, systemd: recorder{units: with("web@manager.service", "deactivating")},
			wantAsked: []string{"stop runners of web", "stop sm-outage@web.service"}, wantStatus: "stopped"},
		{name: "stop continues when systemd re-executes itself", current: two, good: two, systemd: recorder{lost: 1}, args: "stop web", wantGood: two,
			wantAsked: []string{"stop runners of web", "stop sm-outage@web.service"}, wantStatus: "stopped"},
		{name: "a restart or failure of the manager stops nothing", current: two, good: two, env: success, args: "stop web", systemd: recorder{units: up}, wantGood: two, wantAsked: []string{outage}},

		{name: "start what is good and what is pending, and Docker", current: two, good: one, args: "start web", wantGood: one, wantStatus: "serving",
			systemd:   recorder{units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "inactive", SubState: "ready"}}},
			wantAsked: []string{"start docker.service", "start web@" + one + ".service", "start web@" + two + ".service"}},
		{name: "systemd tries again, and Docker stays as it is", current: two, good: two, args: "start web", wantGood: two, wantStatus: "serving",
			systemd:   recorder{again: 1, units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "inactive", SubState: "ready"}}},
			wantAsked: []string{"start web@" + two + ".service"}},
		{name: "nothing will serve", current: two, args: "start web", wantError: "web: nothing will serve: " + two + " is masked, so it cannot start; run systemctl unmask web@" + two + ".service",
			systemd:   recorder{units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "masked", ActiveState: "inactive"}}},
			wantAsked: []string{"start docker.service", outage}},

		{name: "a start that is cut short each time is repeated, and then rejected", current: two, good: one, args: "settle web@" + two, wantGood: one, wantFailures: 3,
			systemd: recorder{units: with("web@"+two+".service", "active")}, wantFailed: startLost + "\n",
			wantAsked: []string{"restart web@" + two + ".service", "restart web@" + two + ".service", "restart web@" + two + ".service", "stop web@" + two + ".service"}},
		{name: "one that was rejected, when a newer one starts already", current: three, good: one, args: "settle web@" + two, rejected: "no", wantGood: one, wantFailed: "no\n",
			systemd: recorder{units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "failed"}, "web@" + three + ".service": {LoadState: "loaded", ActiveState: "activating"}}}},
		{name: "a good runner needs nothing", current: two, good: two, args: "settle web@" + two, wantGood: two,
			systemd: recorder{units: with("web@"+two+".service", "active")}},
		{name: "a failure that no one has recorded", current: two, good: one, args: "settle web@" + two, wantGood: one, wantFailed: "pulling\n",
			systemd: recorder{status: "pulling", units: with("web@"+two+".service", "failed")}},
		{name: "one that was replaced, and ended without its commands", current: three, good: one, recorded: true, args: "settle web@" + two, wantGood: one,
			systemd: recorder{units: with("web@"+two+".service", "failed")}},
		{name: "renewed by another runner", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "serving",
			systemd:   recorder{units: with("web@"+two+".service", "active")},
			wantAsked: []string{"reload", "start web@" + two + ":2.service, and wait", "stop web@" + two + ".service, and wait"}},
		{name: "renewed by the first runner", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "serving",
			systemd:   recorder{units: with("web@"+two+":2.service", "active")},
			wantAsked: []string{"reload", "start web@" + two + ".service, and wait", "stop web@" + two + ":2.service, and wait"}},
		{name: "the good one is renewed, also if another was rejected", current: two, good: one, args: "renew web", wantGood: one, wantStatus: "serving",
			systemd:   recorder{units: with("web@"+one+".service", "active")},
			wantAsked: []string{"reload", "start web@" + one + ":2.service, and wait", "stop web@" + one + ".service, and wait"}},
		{name: "the other runner fails", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "renewing: starting web@" + two + ":2.service",
			systemd:   recorder{units: with("web@"+two+".service", "active"), status: "not healthy after 60s", failStart: errors.New("the job ended as \"failed\"")},
			wantError: "web: not renewed: not healthy after 60s; web@" + two + ".service keeps serving",
			wantAsked: []string{"reload", "start web@" + two + ":2.service, and wait", "stop web@" + two + ":2.service", "reset web@" + two + ":2.service"}},
		{name: "a helper of the other runner is killed", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "renewing: starting web@" + two + ":2.service",
			systemd:   recorder{units: with("web@"+two+".service", "active"), status: "healthy", result: "signal", failStart: errors.New("the job ended as \"failed\"")},
			wantError: "web: not renewed: a helper was killed after \"healthy\"; web@" + two + ".service keeps serving",
			wantAsked: []string{"reload", "start web@" + two + ":2.service, and wait", "stop web@" + two + ":2.service", "reset web@" + two + ":2.service"}},
		{name: "one that must run alone is restarted while clients wait", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "serving", document: `"rollout":{"order":"stop-first"},`,
			systemd:   recorder{units: with("web@"+two+".service", "active")},
			wantAsked: []string{"start sm-hold@web.service, and wait", "restart web@" + two + ".service, and wait"}},
		{name: "nothing to renew", current: two, args: "renew web", wantError: "web: not renewed: no revision has served yet", systemd: recorder{units: up}},
		{name: "what does not serve is not renewed", current: two, good: two, args: "renew web", wantGood: two, systemd: recorder{units: up},
			wantError: "web: not renewed: " + two + " is stopped"},
		{name: "its acceptance retires the one that it renews", current: two, good: two, args: "accept web " + two + ":2", wantGood: two, wantStatus: "serving",
			systemd: recorder{units: with("web@"+two+".service", "active")}, wantAsked: []string{"stop web@" + two + ".service"}},
		{name: "and no other, while another revision is tried", current: three, good: two, args: "accept web " + two + ":2", wantGood: two, wantStatus: "serving",
			systemd:   recorder{units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "active"}, "web@" + three + ".service": {LoadState: "loaded", ActiveState: "activating"}}},
			wantAsked: []string{"stop web@" + two + ".service"}},
		{name: "one that fails beside one that serves is not started again", current: two, good: two, args: "reject web " + two + ":2", wantGood: two, env: failure,
			systemd: recorder{restarts: true, units: with("web@"+two+".service", "active")}, wantAsked: []string{"stop web@" + two + ":2.service"}},

		{name: "the first of three replicas serves", current: two, good: one, args: "accept web " + two, document: three3, wantGood: one, wantReady: []int{1},
			systemd: recorder{units: runners("activating", "inactive", "inactive")}, wantStatus: "serving; becomes good when 2 more of 3 replicas serve"},
		{name: "the last of three", current: two, good: one, args: "accept web " + two + ":3", document: three3, ready: []int{1, 2}, wantGood: two, wantStatus: "serving",
			systemd: recorder{units: runners("active", "active", "activating")}, wantAsked: retire},
		{name: "the last one, when another has ended and left its note", current: two, good: one, args: "accept web " + two + ":3", document: three3, ready: []int{1, 2}, wantGood: one, wantReady: []int{1, 2, 3},
			systemd: recorder{units: runners("active", "failed", "activating")}, wantStatus: "serving; becomes good when 1 more of 3 replicas serve"},
		{name: "two at once: the other one has been accepted a moment ago", current: two, good: one, args: "accept web " + two + ":3", document: three3, ready: []int{1, 2}, wantGood: two, wantStatus: "serving",
			systemd: recorder{units: runners("active", "activating", "activating")}, wantAsked: retire},
		{name: "one of three fails: it is the end of the others", current: two, good: one, args: "reject web " + two + ":2", document: three3, ready: []int{1}, env: failure, wantGood: one, wantReady: []int{1},
			systemd:    recorder{units: runners("active", "deactivating", "inactive"), status: "not healthy"},
			wantAsked:  []string{"stop web@" + two + ".service"},
			wantFailed: "replica 2: not healthy (exit-code; main process exited 3)\n", wantStatus: "rejected: not healthy (exit-code; main process exited 3)"},
		{name: "one of three fails, and some serve of the revision that it has replaced", current: three, good: one, args: "reject web " + three, document: three3, ready: []int{1}, env: failure, wantGood: one, wantReady: []int{1},
			systemd:   recorder{units: runners("active", "inactive", "inactive"), status: "not healthy"},
			wantAsked: []string{"stop web@" + two + ".service"}, wantStatus: "rejected: not healthy (exit-code; main process exited 3)"},
		{name: "one of three is stopped before all serve: so are the others", current: two, good: one, args: "reject web " + two + ":2", document: three3, ready: []int{1}, env: success, wantGood: one, wantReady: []int{1},
			systemd: recorder{units: stopping(runners("active", "deactivating", "inactive"), two+":2")}, wantAsked: []string{"stop web@" + two + ".service"}},
		{name: "one of three is stopped because another one has failed", current: two, good: one, args: "reject web " + two + ":2", document: three3, rejected: "no", env: success, wantGood: one, wantFailed: "no\n",
			systemd: recorder{units: stopping(runners("failed", "deactivating", "active"), two+":2")}},
		{name: "one of three is restarted before all serve", current: two, good: one, args: "reject web " + two + ":2", document: three3, ready: []int{1, 2}, env: success, wantGood: one, wantReady: []int{1},
			systemd: recorder{units: restarting(runners("active", "deactivating", "inactive"), two+":2")}},
		{name: "one of three ends well before all serve", current: two, good: one, args: "reject web " + two, document: three3, ready: []int{1, 2}, env: success, wantGood: one, wantReady: []int{2},
			systemd:    recorder{units: runners("deactivating", "active", "inactive"), status: "serving"},
			wantAsked:  []string{"stop web@" + two + ":2.service"},
			wantFailed: "serving (success)\n", wantStatus: "rejected: serving (success)"},
		{name: "one whose start is ended because another has failed", current: two, good: one, args: "reject web " + two + ":2", document: three3, env: failure, wantGood: one,
			systemd: recorder{units: map[string]dbus.UnitStatus{"sm-retire@web@" + two + ":2.service": {LoadState: "loaded", ActiveState: "activating"}}}},
		{name: "a good one of three that dies beside the others is started again", current: two, good: two, args: "reject web " + two + ":2", document: three3, env: failure, wantGood: two,
			systemd: recorder{restarts: true, units: runners("active", "deactivating", "active")}},
		{name: "renewed once another one has drained", current: two, good: two, args: "renew web", wantGood: two, wantStatus: "serving",
			systemd:   recorder{looks: 6, units: runners("active", "deactivating")},
			wantAsked: []string{"reload", "start web@" + two + ":2.service, and wait", "stop web@" + two + ".service, and wait"}},
		{name: "three are renewed", current: two, good: two, args: "renew web", document: three3, wantGood: two, wantStatus: "serving",
			systemd: recorder{units: runners("active", "active", "active"), oldest: "web@" + two + ":2.service"},
			wantAsked: []string{"reload", "start web@" + two + ":4.service, and wait", "stop web@" + two + ":2.service, and wait",
				"reload", "start web@" + two + ":4.service, and wait", "stop web@" + two + ".service, and wait",
				"reload", "start web@" + two + ":4.service, and wait", "stop web@" + two + ":3.service, and wait"}},
		{name: "one too many serves: the oldest one goes", current: two, good: two, args: "accept web " + two + ":4", document: three3, wantGood: two, wantStatus: "serving",
			systemd: recorder{units: runners("active", "active", "active", "activating"), oldest: "web@" + two + ":2.service"}, wantAsked: append(retire[:1:1], "stop web@"+two+":2.service")},
		{name: "a manager starts all of the good one, and the first of a pending one", current: two, good: one, args: "start web", document: three3, wantGood: one, wantStatus: "serving",
			systemd:   recorder{units: map[string]dbus.UnitStatus{"web@" + one + ":2.service": {LoadState: "loaded", ActiveState: "active"}}},
			wantAsked: []string{"start docker.service", "start web@" + one + ".service", "start web@" + one + ":3.service", "start web@" + two + ".service"}},
		{name: "there are to be more", current: two, good: two, args: "scale web@" + three, document: three3, wantGood: two,
			systemd: recorder{units: with("web@"+two+":2.service", "active")}, wantAsked: []string{"start web@" + two + ".service", "start web@" + two + ":3.service"}},
		{name: "there are to be fewer: first goes what does not serve", current: two, good: two, args: "scale web@" + three, document: three3, wantGood: two,
			systemd: recorder{units: managed(runners("active", "activating", "active", "active", "active"))}, wantAsked: []string{"stop web@" + two + ":2.service web@" + two + ":5.service, and wait"}},
		{name: "a service that is stopped is not scaled", current: two, good: two, args: "scale web@" + three, document: three3, wantGood: two},

		{name: "nothing has served for long", current: two, good: two, args: "outage web", wantGood: two, wantError: "web: nothing has served for 1m0s: " + two + " is stopped", systemd: recorder{units: up}, wantStatus: ""},
		{name: "it serves", current: two, good: two, args: "outage web", wantGood: two, systemd: recorder{units: with("web@"+two+".service", "active")}},
		{name: "the manager was stopped before its start", current: two, good: two, args: "outage web", wantGood: two,
			systemd:   recorder{units: map[string]dbus.UnitStatus{"web@" + two + ".service": {LoadState: "loaded", ActiveState: "active"}}},
			wantAsked: []string{"stop web@" + two + ".service"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := revision.Store{Root: t.TempDir(), Run: t.TempDir()}
			for _, rev := range []name.Rev{one, two, three} {
				must(t, store.Save(web.Revision(rev), []byte(`{`+test.document+`"image":"app","address":"10.0.0.1:80","port":80}`)))
			}
			if test.current != "" {
				must(t, store.SetCurrent(web.Revision(test.current)))
			}
			if test.good != "" {
				must(t, store.SetGood(web.Revision(test.good)))
			}
			if test.recorded {
				must(t, os.Mkdir(filepath.Join(store.Run, "web"), 0o700))
				must(t, os.WriteFile(store.RecordPath(web.Revision(two).First()), nil, 0o600))
			}
			r := rollout{store: store}
			if test.alone {
				must(t, r.alone(web.Revision(two)).set())
			}
			if test.rejected != "" {
				must(t, store.SetFailed(web.Revision(two), test.rejected))
			}
			for _, number := range test.ready {
				must(t, r.ready(web.Revision(two).Runner(number)).set())
			}
			var stdout, stderr bytes.Buffer
			var status string
			w := command.World{Args: strings.Fields(test.args), Stdout: &stdout, Stderr: &stderr,
				Env: func(name string) (string, bool) { v, ok := test.env[name]; return v, ok },
				Notify: notify.To(func(state string) {
					if s, ok := strings.CutPrefix(state, "STATUS="); ok {
						status = s
					}
				})}
			connect := func(context.Context) (systemdConn, error) { return &test.systemd, nil }
			err := run(context.Background(), w, store, connect)
			if test.wantError == "" && err != nil || test.wantError != "" && (err == nil || !strings.Contains(err.Error(), test.wantError)) {
				t.Errorf("error = %v; want %q", err, test.wantError)
			}
			if good, _ := store.Good(web); good != test.wantGood {
				t.Errorf("good = %q; want %q", good, test.wantGood)
			}
			if diff := cmp.Diff(test.wantAsked, test.systemd.asked); diff != "" {
				t.Errorf("asked systemd (-want +got):\n%s", diff)
			}
			reason, _ := os.ReadFile(store.Run + "/web/" + two + ".failed")
			if string(reason) != test.wantFailed {
				t.Errorf("failed record %q; want %q", reason, test.wantFailed)
			}
			if recorded, err := store.Recorded(web); err != nil || len(recorded) > 0 {
				t.Errorf("run records left: %v, %v", recorded, err)
			}
			if alone, err := r.alone(web.Revision(two)).isSet(); err != nil || alone != test.wantAlone {
				t.Errorf("runs alone: %t, %v; want %t", alone, err, test.wantAlone)
			}
			var ready []int
			for _, runner := range web.Revision(two).Runners(name.MaxRunners) {
				if is, err := r.ready(runner).isSet(); err != nil || is {
					ready = append(ready, runner.Number)
				}
			}
			if !slices.Equal(ready, test.wantReady) {
				t.Errorf("the runners %v serve; want %v", ready, test.wantReady)
			}
			if got := r.pace(web.Revision(two).First()).failures; got != test.wantFailures {
				t.Errorf("%d failures are counted; want %d", got, test.wantFailures)
			}
			if status != test.wantStatus {
				t.Errorf("status %q; want %q", status, test.wantStatus)
			}
		})
	}
}

// What must not run twice does not start beside a container whose unit has stopped.
func TestLeftBehind(t *testing.T) {
	store := revision.Store{Root: t.TempDir(), Run: t.TempDir()}
	must(t, store.Save(web.Revision(two), []byte(`{"image":"app","address":"10.0.0.1:80","port":80,"rollout":{"order":"stop-first"}}`)))
	must(t, store.SetCurrent(web.Revision(two)))
	id := strings.Repeat("0123456789abcdef", 4)
	must(t, running.Folder(store.Run+"/containers").Note(running.Container{ID: id, Name: "web." + one, Unit: "web@" + one + ".service", PID: 1}))
	runner := web.Revision(two).First()
	for _, test := range []struct {
		name  string
		lives bool
		unit  string
		want  string // what it waits for
	}{
		{"ended", false, "inactive", ""},
		{"its unit is live: replace stops it", true, "active", ""},
		{"left behind", true, "failed", "for the end of container web." + one + ", whose unit has stopped: run docker rm -f web." + one},
	} {
		t.Run(test.name, func(t *testing.T) {
			systemd := &recorder{units: map[string]dbus.UnitStatus{"web@" + one + ".service": {LoadState: "loaded", ActiveState: test.unit}}}
			r := rollout{w: command.World{Stderr: io.Discard}, store: store, lives: func(c running.Container) (bool, error) { return test.lives && c.ID == id, nil },
				connect: func(context.Context) (systemdConn, error) { return systemd, nil }}
			if what, err := r.otherRunner(t.Context(), runner.Revision, time.Hour); err != nil || what != test.want {
				t.Errorf("it waits %q, %v; want %q", what, err, test.want)
			}
			wantError := ""
			if test.want != "" {
				wantError = "web " + two + ": not started: container web." + one + " runs although its unit has stopped; run docker rm -f web." + one
			}
			if err := r.replace(t.Context(), runner); wantError == "" && err != nil || wantError != "" && fmt.Sprint(err) != wantError {
				t.Errorf("replace: %v; want %s", err, wantError)
			}
		})
	}
}

// What cannot start although it could have a turn leaves that to others, and says why.
func TestObstructed(t *testing.T) {
	store := revision.Store{Root: t.TempDir(), Run: t.TempDir()}
	must(t, store.Save(web.Revision(two), []byte(`{"image":"app","address":"10.0.0.1:80","port":80}`)))
	must(t, store.SetCurrent(web.Revision(two)))
	docker := dbus.UnitStatus{LoadState: "loaded", ActiveState: "inactive"}
	asked := 0
	r := rollout{w: command.World{Stderr: io.Discard}, store: store, starts: 1, connect: func(context.Context) (systemdConn, error) {
		asked++
		return &recorder{units: map[string]dbus.UnitStatus{dockerUnit: docker}}, nil
	}}
	r.w.Env = func(string) (string, bool) { return "", false }
	one := waiting{r, web.Revision(two).First(), r.turns(), false}
	other := waiting{r, name.Service("shop").Revision(two).First(), r.turns(), false}
	expect := func(w *waiting, what string, wantAsked int) {
		t.Helper()
		asked = 0
		if got, err := w.turn(t.Context(), 0); err != nil || got != what || asked != wantAsked {
			t.Errorf("it waits %q, %v, and has asked %d times; want %q and %d", got, err, asked, what, wantAsked)
		}
	}
	const forDocker, forTurn = "for docker.service, which is inactive", "for its turn: no more than 1 start at once (PARALLEL_STARTS=)"
	for range 2 {
		expect(&one, forDocker, 1)
		if units, err := r.turns().others(""); err != nil || len(units) > 0 {
			t.Errorf("these have turns: %v, %v", units, err)
		}
	}
	docker.ActiveState = "active"
	expect(&one, "", 2)
	must(t, os.WriteFile(r.turns().looked(), nil, 0o600)) // nothing is stale
	expect(&other, forTurn, 0)
	docker.ActiveState = "inactive"
	r.turns().release(one.runner.Unit())
	expect(&other, forDocker, 1)
}

// A manager that systemd has forgotten has not been down for ever.
func TestLastServed(t *testing.T) {
	conn := &recorder{forgotten: true}
	last, err := rollout{}.lastServed(t.Context(), conn, scene{overview.Service{Name: web}})
	if err != nil || last != conn.Uptime() {
		t.Errorf("it last served at %v, %v; want now", last, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
