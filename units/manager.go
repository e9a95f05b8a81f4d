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
	wants := []string{"docker.service"}
	after := []string{"docker.service"}
	if s.Good != "" {
		wants = append(wants, RunnerUnit(s.Service, s.Good))
		after = append(after, RunnerUnit(s.Service, s.Good))
	}
	if s.Pending() {
		wants = append(wants, RunnerUnit(s.Service, s.Current))
		if s.Good == "" {
			after = append(after, RunnerUnit(s.Service, s.Current))
		}
	}

	t := newText(1 << 10)
	t.set("Description", specifierFree(managerDescription(outside)))
	t.set("SourcePath", sourcePath(outside))
	t.set("Wants", join(wants))
	t.set("After", join(after))
	if s.Pending() {
		// Wanting a runner has no effect while the manager is active already.
		t.set("Upholds", StartUnit(RunnerUnit(s.Service, s.Current)))
	}
	t.set("StartLimitIntervalSec", "0")

	t.section("Service")
	t.set("Type", "oneshot")
	t.set("RemainAfterExit", "yes")
	// For the status, and because older runners may drain for longer than these.
	t.set("NotifyAccess", "exec")
	t.set("Restart", "on-failure")
	t.set("RestartSec", "5s")
	t.command("ExecStart", helper(helpers, "sm-ipvs"), "check", literal(outside.Address.String()))
	t.command("ExecStop", helper(helpers, "sm-rollout"), "stop", literal(s.Service))
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
