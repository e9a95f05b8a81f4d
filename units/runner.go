package units

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"service-manager/units/definition"
	"service-manager/units/revision"
)

const (
	// hold is how long a container has to stay healthy before it gets traffic:
	// one that dies a moment after it came up must not have replaced anything.
	hold = 2 * time.Second
	// slack is what a step may take beyond the time that its work is given.
	slack = 30 * time.Second
)

// lastDropIn sorts behind the drop-ins of the host's administrator.
const lastDropIn = "zz-rollout.conf"

// runner returns the unit of one revision of a service, with its drop-ins. Its
// commands are the rollout: each ends when its step is done, and a failing one
// ends the start.
//
// systemd appends the commands of drop-ins to those of the unit. A check that
// somebody adds must come before traffic does, and before others are retired for
// it; so where there are drop-ins, those last steps are in one themselves.
func runner(helpers string, s Service, d *definition.Definition) []File {
	var (
		container   = literal(ContainerName(d.Service, d.Revision))
		record      = literal(revision.Store{Run: revision.Run}.RecordPath(d.Service, d.Revision))
		address     = literal(d.Address.String())
		ip, ipName  = containerIP(d)
		destination = ip + word(":"+strconv.Itoa(int(d.Port)))
		dockerRun   = helper(helpers, "sm-docker-run")
		ipvs        = helper(helpers, "sm-ipvs")
		rollout     = helper(helpers, "sm-rollout")
	)

	lastSteps := func(t *text) {
		t.command("ExecStartPost", ipvs, "add", address, destination)
		t.command("ExecStartPost", rollout, "accept", literal(d.Service), literal(d.Revision))
	}

	t := newText(3 << 10)
	t.set("Description", specifierFree(fmt.Sprintf("%s %s (%s)", d.Service, d.Revision, d.Image)))
	t.set("SourcePath", sourcePath(d))
	t.set("After", "docker.service")
	if d.Revision != s.Good {
		t.set("Wants", SettleUnit("%n"))
	}
	t.set("StartLimitIntervalSec", "0")

	t.section("Service")
	t.set("Type", "notify")
	t.set("NotifyAccess", "exec")
	if d.Revision == s.Good {
		t.set("Restart", "always")
		t.set("RestartSec", "1s")
	} else {
		t.set("Restart", "no")
	}
	t.set("Environment", ipName+"=")
	t.set("EnvironmentFile", "-"+specifierFree(string(record)))
	t.command("ExecStartPre", rollout, "wait", literal(d.Service), literal(d.Revision))
	t.command("ExecStartPre", dockerRun, "pull", "--name", container, "--record", record, literal(d.Image))
	t.command("ExecStart", append([]word{dockerRun, "run", "--unit", "%n", "--name", container, "--record", record}, containerWords(d)...)...)
	t.command("ExecStartPost", helper(helpers, "sm-healthcheck"), "--timeout", duration(d.HealthCheck.Timeout),
		"--interval", duration(d.HealthCheck.Interval), "--hold", duration(hold), healthURL(d, destination))
	if !s.dropIns() {
		lastSteps(t)
	}
	t.command("ExecStop", ipvs, "drain", "--timeout", duration(d.DrainTimeout), address, destination)
	// Without the dash, a failing command would keep the later ones from running.
	// Twice, because a command may be killed, by the kernel for want of memory say,
	// and a destination that outlives its container would lose requests.
	for range 2 {
		t.command("ExecStopPost", "-"+ipvs, "remove", address, destination)
	}
	for range 2 {
		t.command("ExecStopPost", "-"+dockerRun, "remove", "--name", container, "--record", record)
	}
	t.command("ExecStopPost", "-"+rollout, "reject", literal(d.Service), literal(d.Revision))
	t.set("TimeoutStartSec", seconds(max(d.StartTimeout, d.HealthCheck.Timeout+hold+slack)))
	t.set("TimeoutStopSec", seconds(max(d.DrainTimeout, d.StopTimeout)+slack))

	unit := RunnerUnit(d.Service, d.Revision)
	files := []File{{Path: unit, Content: t.Bytes()}}
	if !s.dropIns() {
		return files
	}
	for _, dropIn := range s.RunnerDropIns {
		files = append(files, File{Path: path.Join(unit+".d", path.Base(dropIn)), Target: dropIn})
	}
	var last text
	last.line(Header)
	last.line("[Service]")
	lastSteps(&last)
	return append(files, File{Path: path.Join(unit+".d", lastDropIn), Content: last.Bytes()})
}

// hostname is the variable that tells a container the name of its host.
const hostname = "SYSTEM_HOSTNAME"

// containerWords returns the part of the command line that docker run would
// take, too.
func containerWords(d *definition.Definition) []word {
	words := []word{"--stop-timeout", duration(d.StopTimeout)}
	words = append(words, "--label", literal("service_name="+d.Service))
	if !slices.ContainsFunc(d.Environment, func(v definition.Variable) bool { return v.Name == hostname }) {
		words = append(words, "--env", hostname+"=%H")
	}
	if len(d.Environment) > 0 {
		// Every user can read units and arguments, but not this file.
		words = append(words, "--environment-from", literal(sourcePath(d)))
	}
	for _, f := range d.Flags {
		words = append(words, word(f.Name), literal(f.Value))
	}
	var arguments []string
	if len(d.Entrypoint) > 0 {
		words = append(words, "--entrypoint", literal(d.Entrypoint[0]))
		arguments = d.Entrypoint[1:]
	}
	words = append(words, literal(d.Image))
	for _, a := range append(arguments[:len(arguments):len(arguments)], d.Command...) {
		words = append(words, literal(a))
	}
	return words
}

// containerIP returns the word for the address of the container, and the name of
// the variable in it. A virtual service has destinations of its own family only.
func containerIP(d *definition.Definition) (ip word, name string) {
	if d.Address.Addr().Is6() {
		return "[${SM_CONTAINER_IP6}]", "SM_CONTAINER_IP6"
	}
	return "${SM_CONTAINER_IP}", "SM_CONTAINER_IP"
}

func healthURL(d *definition.Definition, destination word) word {
	if d.HealthCheck.Type == definition.TCP {
		return "tcp://" + destination
	}
	return "http://" + destination + literal(d.HealthCheck.Path)
}

func helper(helpers string, name string) word { return literal(helpers + "/" + name) }

// duration returns a time span as the helpers read it, in seconds where it has
// whole ones.
func duration(d time.Duration) word {
	if d%time.Second == 0 {
		return word(strconv.Itoa(int(d/time.Second)) + "s")
	}
	return word(d.String())
}

// seconds returns a time span as systemd reads it, rounded up.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds()))) + "s"
}

func join(names []string) string { return strings.Join(names, " ") }
