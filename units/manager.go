package units

import (
	"slices"
	"strings"
	"time"

	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/unitfile"
)

// manager returns the unit that stands for a service as a whole. It becomes
// active when the service serves; starting it starts the runners, stopping it stops
// them.
func manager(t *unitfile.Text, helpers string, s Service) []byte {
	// What serves decides how the service looks from outside; before anything does, what
	// is meant to serve.
	outside := s.Definition(s.Good)
	if outside == nil {
		outside = s.Definition(s.Current)
	}
	// For the order of stopping: dependents, manager, runners. It wants none of
	// them. As part of its start they would hold it up, and a stop of a unit whose
	// start is held up runs no command. It does not want Docker either: systemd 257
	// would start a Docker that was stopped by hand.
	after := []string{"docker.service"}
	for _, rev := range slices.Compact([]name.Rev{s.Good, s.Current}) {
		if rev == "" {
			continue
		}
		for _, r := range s.Runners(s.Service.Revision(rev)) {
			after = append(after, r.Unit())
		}
	}

	restore := command{helper(helpers, "sm-ipvs"), "restore"}
	smRollout := helper(helpers, "sm-rollout")
	steps := chain{
		// One command: when it is stopped in the middle of one, systemd 252 runs the
		// next.
		main: step{
			do:      command{smRollout, "start", unitfile.Literal(string(s.Service))},
			undo:    command{smRollout, "stop", unitfile.Literal(string(s.Service))},
			lasting: true,
		},
	}

	begin(t)
	t.Set("Description", unitfile.SpecifierFree(managerDescription(outside)))
	t.Set("SourcePath", sourcePath(outside))
	t.Set("After", strings.Join(after, " "))
	// What the manager starts by itself it starts once; these are for one that has done
	// that.
	if s.Pending() {
		t.Set("Upholds", name.Start(s.Service.Revision(s.Current).First().Unit()))
	}
	if by := s.Scaled.By; by != "" {
		t.Set("Upholds", name.Scale(s.Service.Revision(by).First().Unit()))
	}
	t.Set("StartLimitIntervalSec", "0")

	t.Blank()
	t.Section("Service")
	t.Set("Type", "oneshot")
	t.Set("RemainAfterExit", "yes")
	// For the status, and because older runners may take longer to drain than these.
	t.Set("NotifyAccess", "exec")
	t.Set("Restart", "on-failure")
	// Short, because a stop in this pause runs no command.
	t.Set("RestartSec", "1s")
	// What serves already may have lost its destination, if the kernel's table was cleared.
	// That is no reason to start nothing.
	t.Attempt("ExecStartPre", restore...)
	steps.writeStart(t)
	t.Attempt("ExecReload", restore...)
	if good := s.Definition(s.Good); good != nil {
		// An image that only this host has, or whose registry is out of reach, is used as
		// it is here.
		pull := command{helper(helpers, "sm-docker-run"), "pull", "--pull", "always", unitfile.Literal(good.Image)}
		t.Attempt("ExecReload", pull...)
	}
	t.Command("ExecReload", smRollout, "renew", unitfile.Literal(string(s.Service)))
	steps.writeEnd(t)
	t.Set("SuccessExitStatus", "SIGTERM")
	t.Set("TimeoutStartSec", "infinity")
	t.Set("TimeoutStopSec", unitfile.Seconds(stopTime(s)))
	return t.Cut()
}

func managerDescription(d *definition.Definition) string {
	if d.Description == "" {
		return string(d.Service) + " (service manager)"
	}
	return string(d.Service) + ": " + d.Description + " (service manager)"
}

// stopTime is how long the runners of a service may take to stop, all at once.
func stopTime(s Service) time.Duration {
	var longest time.Duration
	for _, rev := range []name.Rev{s.Current, s.Good} {
		if d := s.Definition(rev); d != nil {
			longest = max(longest, endTime(d))
		}
	}
	return longest + 2*slack
}

// endTime is how long a container may take to lose its connections and to end.
func endTime(d *definition.Definition) time.Duration {
	// One endpoint drains after the other.
	drains := time.Duration(max(1, len(d.Endpoints)))
	return drains*d.Drain.Timeout + d.StopTimeout
}
