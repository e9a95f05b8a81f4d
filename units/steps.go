package units

import (
	"slices"
	"strconv"
	"time"

	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/unitfile"
)

// hold is how long a container has to stay healthy before it gets traffic: one
// that dies a moment after it came up must not have replaced anything.
const hold = 2 * time.Second

// rollout returns the steps by which a runner of a revision comes to serve.
func rollout(helpers string, d *definition.Definition, r name.Runner, good bool) chain {
	var (
		smDockerRun = helper(helpers, "sm-docker-run")
		smIPVS      = helper(helpers, "sm-ipvs")
		smRollout   = helper(helpers, "sm-rollout")

		service = unitfile.Literal(string(d.Service))
		rev     = unitfile.Literal(r.Mark())
		name    = unitfile.Literal(r.Container())
		record  = unitfile.Literal(recordPath(r))
	)
	turn := step{
		do:   command{smRollout, "wait", service, rev},
		undo: command{smRollout, "reject", service, rev},
	}
	image := step{
		do: command{smDockerRun, "pull", "--name", name, "--record", record, unitfile.Literal(d.Image)},
	}
	container := step{
		do:      append(command{smDockerRun, "run", "--unit", "%n", "--name", name, "--record", record}, containerWords(d, d.Command)...),
		undo:    command{smDockerRun, "remove", "--name", name, "--record", record},
		lasting: true,
	}
	health := step{
		do: append(command{helper(helpers, "sm-healthcheck"), "--timeout", duration(d.HealthCheck.Timeout),
			"--interval", duration(d.HealthCheck.Interval), "--hold", duration(hold)}, healthWords(d)...),
	}
	outcome := step{
		do: command{smRollout, "accept", service, rev},
	}
	first := []step{turn, image}
	if d.StopsFirst() {
		// Once the image is here, so that the service does not lack a container for the
		// time of a download.
		first = append(first, step{do: command{smRollout, "replace", service, rev}})
	}
	if preStarts(d, good) {
		first = append(first, preStart(smDockerRun, d, r))
	}
	return chain{before: first, main: container, after: []step{health}, last: append(traffic(smIPVS, d), outcome)}
}

// preStarts reports whether something has to run once before a revision serves. For a
// good one, it has.
func preStarts(d *definition.Definition, good bool) bool {
	return len(d.PreStart.Command) > 0 && !good
}

// preStart returns the step that runs something once.
func preStart(smDockerRun unitfile.Word, d *definition.Definition, r name.Runner) step {
	name := unitfile.Literal(r.Container() + ".pre-start")
	return step{
		do: append(command{smDockerRun, "once", "--unit", "%n", "--name", name, "--done", unitfile.Literal(preStartedPath(d)),
			"--timeout", duration(d.PreStart.Timeout)}, containerWords(d, d.PreStart.Command)...),
		undo:    command{smDockerRun, "remove", "--name", name},
		lasting: true,
	}
}

// traffic returns the steps by which clients reach the container, none for a worker.
func traffic(smIPVS unitfile.Word, d *definition.Definition) []step {
	var declare, open []step
	for _, e := range d.Endpoints {
		address, destination := unitfile.Literal(e.Address.String()), containerPort(e.Address, e.Port)
		answered := d.Drain.Until == definition.Answered && e.Address.Protocol == definition.TCP
		add := func(flags ...unitfile.Word) command {
			if d.AssignAddress {
				flags = append(flags, "--assign")
			}
			if answered {
				flags = append(flags, "--watch")
			}
			return append(append(command{smIPVS, "add"}, flags...), address, destination)
		}
		drain := command{smIPVS, "drain", "--timeout", duration(d.Drain.Timeout)}
		if answered {
			drain = append(drain, "--until", definition.Answered)
		}
		if len(d.Endpoints) > 1 {
			// A problem with one of several must show before any of them has clients.
			declare = append(declare, step{do: add("--weight", "0")})
		}
		open = append(open, step{
			do:      add("--scheduler", unitfile.Literal(e.Scheduler)),
			stop:    append(drain, address, destination),
			undo:    command{smIPVS, "remove", address, destination},
			lasting: true,
		})
	}
	return append(declare, open...)
}

// hostname is the variable that tells a container the name of its host.
const hostname = "SYSTEM_HOSTNAME"

// containerWords returns the part of the command line that docker run would
// take, too, with that command.
func containerWords(d *definition.Definition, command []string) []unitfile.Word {
	words := []unitfile.Word{"--stop-timeout", duration(d.StopTimeout)}
	words = append(words, "--label", unitfile.Literal("service_name="+string(d.Service)))
	if !slices.ContainsFunc(d.Environment, func(v definition.Variable) bool { return v.Name == hostname }) {
		words = append(words, "--env", hostname+"=%H")
	}
	if len(d.Environment) > 0 {
		// Every user can read units and arguments, but not this file.
		words = append(words, "--environment-from", unitfile.Literal(sourcePath(d)))
	}
	for _, f := range d.Flags {
		words = append(words, unitfile.Word(f.Name), unitfile.Literal(f.Value))
	}
	var arguments []string
	if len(d.Entrypoint) > 0 {
		words = append(words, "--entrypoint", unitfile.Literal(d.Entrypoint[0]))
		arguments = d.Entrypoint[1:]
	}
	words = append(words, unitfile.Literal(d.Image))
	for _, a := range append(arguments[:len(arguments):len(arguments)], command...) {
		words = append(words, unitfile.Literal(a))
	}
	return words
}

// containerPort returns the word for the container's address of the same family as that
// of clients, with a port: a virtual service has destinations of its own family only.
func containerPort(address definition.Address, port uint16) unitfile.Word {
	host := unitfile.Word("${" + ipVariable(address) + "}")
	if address.Addr().Is6() {
		host = "[" + host + "]"
	}
	return host + unitfile.Word(":"+strconv.Itoa(int(port)))
}

// ipVariable is the variable of the run record that has the container's address of the
// same family as that of clients.
func ipVariable(address definition.Address) string {
	if address.Addr().Is6() {
		return "SM_CONTAINER_IP6"
	}
	return "SM_CONTAINER_IP"
}

// ipVariables are those that the steps use, in their order.
func ipVariables(d *definition.Definition) []string {
	var variables []string
	for _, address := range append(d.Addresses(), probed(d)) {
		if v := ipVariable(address); !slices.Contains(variables, v) {
			variables = append(variables, v)
		}
	}
	return variables
}

// probed returns the address of whose family the container's is that is asked: that of
// the first endpoint for TCP, or of the first one; none for a worker.
func probed(d *definition.Definition) definition.Address {
	if e, ok := d.FirstTCP(); ok || d.Worker() {
		return e.Address
	}
	return d.Endpoints[0].Address
}

// healthWords returns the URL that a container is asked at, behind what is said about the
// time after its start.
func healthWords(d *definition.Definition) (words []unitfile.Word) {
	if n := d.HealthCheck.Failures; n > 0 {
		words = append(words, "--failures", unitfile.Word(strconv.Itoa(n)))
	}
	if after := d.HealthCheck.RestartAfter; after > 0 {
		words = append(words, "--restart-after", duration(after))
	}
	return append(words, healthURL(d))
}

func healthURL(d *definition.Definition) unitfile.Word {
	at := containerPort(probed(d), d.HealthCheck.Port)
	switch d.HealthCheck.Type {
	case definition.None:
		return "process:"
	case definition.TCP:
		return "tcp://" + at
	default:
		return "http://" + at + unitfile.Literal(d.HealthCheck.Path)
	}
}

func helper(helpers, program string) unitfile.Word { return unitfile.Literal(helpers + "/" + program) }

// duration returns a time span as the helpers read it, in seconds where it has
// whole ones.
func duration(d time.Duration) unitfile.Word {
	if d%time.Second == 0 {
		return unitfile.Word(strconv.Itoa(int(d/time.Second)) + "s")
	}
	return unitfile.Word(d.String())
}
