package units

import (
	"path"
	"slices"
	"strings"
	"time"

	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/unitfile"
)

// slack is what a step may take beyond the time for its own work. What undoes a step gives up
// before that: otherwise systemd would skip what undoes those before it.
const slack = 30 * time.Second

// lastDropIn sorts behind the drop-ins of the host's administrator.
const lastDropIn = "zz-rollout.conf"

// runner returns the unit of a runner of one revision of a service, with its drop-ins.
func runner(t *unitfile.Text, helpers string, s Service, d *definition.Definition, r name.Runner) []File {
	good := d.Rev == s.Good
	steps := rollout(helpers, d, r, good)

	begin(t)
	t.Set("Description", unitfile.SpecifierFree(r.String()+" ("+d.Image+")"))
	t.Set("SourcePath", sourcePath(d))
	t.Set("After", strings.Join(append([]string{"docker.service"}, predecessors(d, r, good)...), " "))
	if !good {
		t.Set("Wants", strings.Join(append([]string{name.Settle("%n")}, siblings(d, r)...), " "))
	}
	t.Set("StartLimitIntervalSec", "0")

	t.Blank()
	t.Section("Service")
	t.Set("Type", "notify")
	t.Set("NotifyAccess", "exec")
	if good {
		t.Set("Restart", "always")
		t.Set("RestartSec", "1s")
	} else {
		t.Set("Restart", "no")
	}
	for _, variable := range ipVariables(d) {
		t.Set("Environment", variable+"=")
	}
	t.Set("EnvironmentFile", "-"+unitfile.SpecifierFree(recordPath(r)))
	steps.writeStart(t)
	if !s.dropIns() {
		steps.writeLast(t)
	}
	steps.writeEnd(t)
	longest := max(d.StartTimeout, d.HealthCheck.Timeout+hold+slack)
	if preStarts(d, good) {
		longest = max(longest, d.PreStart.Timeout+d.StopTimeout+slack)
	}
	t.Set("TimeoutStartSec", unitfile.Seconds(longest))
	t.Set("TimeoutStopSec", unitfile.Seconds(max(d.Drain.Timeout, d.StopTimeout)+slack))

	unit := r.Unit()
	files := []File{{Path: unit, Content: t.Cut()}}
	if !s.dropIns() {
		return files
	}
	// systemd appends the commands of drop-ins to those of the unit. A check that
	// an administrator adds must come before traffic does, and before others are retired for
	// it; so the last steps are in a drop-in themselves.
	for _, dropIn := range s.RunnerDropIns {
		files = append(files, File{Path: path.Join(unit+".d", path.Base(dropIn)), Target: dropIn})
	}
	t.Comment(header)
	t.Section("Service")
	steps.writeLast(t)
	return append(files, File{Path: path.Join(unit+".d", lastDropIn), Content: t.Cut()})
}

// predecessors returns the runners of a new revision whose starts must be over before
// that of another one begins, so that no more than Parallel of them start at once. Those
// of a good revision start together.
func predecessors(d *definition.Definition, r name.Runner, good bool) (units []string) {
	if good || r.Number == 1 {
		return nil
	}
	if before := r.Number - d.Rollout.Parallel; before >= 1 {
		units = append(units, r.Revision.Runner(before).Unit())
	}
	if first := r.First().Unit(); len(d.PreStart.Command) > 0 && !slices.Contains(units, first) {
		// It runs pre_start, which comes before every container that serves.
		units = append(units, first)
	}
	return units
}

// siblings returns the runners that start with one of a new revision.
func siblings(d *definition.Definition, r name.Runner) (units []string) {
	for _, other := range r.Revision.Runners(d.Replicas) {
		if other != r {
			units = append(units, other.Unit())
		}
	}
	return units
}
