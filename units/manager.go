package units

import (
	"time"

	"service-manager/units/definition"
)

// manager returns the unit that stands for a service as a whole. It is active
// while the service serves; starting it starts the runners, stopping it stops
// them.
func manager(helpers string, s Service) []byte {
	// What serves decides how the service looks from outside; before anything
	// does, it is what is meant to.
	outside := s.Definition(s.Good)
	if outside == nil {
		outside = s.Definition(s.Current)
	}
	// For the order of stopping: dependents, manager, runners. It wants none of
	// them. As part of its start they would hold it up, and a stop of a unit whose
	// start is held up runs no command. It does not want Docker either: systemd 257
	// would start a Docker that was stopped by hand.
	after := []string{"docker.service"}
	if s.Good != "" {
		after = append(after, RunnerUnit(s.Service, s.Good))
	}
	if s.Current != "" && s.Current != s.Good {
		after = append(after, RunnerUnit(s.Service, s.Current))
	}

	t := newText(1 << 10)
	t.set("Description", specifierFree(managerDescription(outside)))
	t.set("SourcePath", sourcePath(outside))
	t.set("After", join(after))
	if s.Pending() {
		// What the manager starts by itself it starts once; this is for one that has
		// done that.
		t.set("Upholds", StartUnit(RunnerUnit(s.Service, s.Current)))
	}
	t.set("StartLimitIntervalSec", "0")

	t.section("Service")
	t.set("Type", "oneshot")
	t.set("RemainAfterExit", "yes")
	// For the status, and because older runners may drain for longer than these.
	t.set("NotifyAccess", "exec")
	t.set("Restart", "on-failure")
	// Short, because a stop in this pause runs no command.
	t.set("RestartSec", "1s")
	rollout := helper(helpers, "sm-rollout")
	// What serves already may have lost its destination: somebody has cleared the
	// kernel's table. That is no reason to start nothing.
	ipvs := helper(helpers, "sm-ipvs")
	t.command("ExecStartPre", "-"+ipvs, "restore")
	// One line: stopped in the middle of one, systemd 252 runs the next.
	t.command("ExecStart", rollout, "start", literal(s.Service))
	t.command("ExecReload", ipvs, "restore")
	// Twice, because a command may be killed.
	for range 2 {
		t.command("ExecStopPost", "-"+rollout, "stop", literal(s.Service))
	}
	t.set("SuccessExitStatus", "SIGTERM")
	t.set("TimeoutStartSec", "infinity")
	t.set("TimeoutStopSec", seconds(stopTime(s)))
	return t.Bytes()
}

func managerDescription(d *definition.Definition) string {
	if d.Description == "" {
		return d.Service + " (service manager)"
	}
	return d.Service + ": " + d.Description + " (service manager)"
}

// stopTime is how long the runners of a service may take to stop, all at once.
func stopTime(s Service) time.Duration {
	var longest time.Duration
	for _, name := range []string{s.Current, s.Good} {
		if d := s.Definition(name); d != nil {
			longest = max(longest, d.DrainTimeout+d.StopTimeout)
		}
	}
	return longest + 2*slack
}
