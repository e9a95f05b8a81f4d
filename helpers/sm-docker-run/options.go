package main

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/docker/go-units"

	"service-manager/helpers/internal/command"
)

// options is what the command line says about the container.
type options struct {
	name, unit, record string
	pull               *pullPolicy
	patience           *time.Duration
	stopTimeout        stopTimeout
	image              string
	args               []string
	entrypoint         optional
	env, labels        command.Strings
	environmentFrom    string
	volumes, tmpfs     command.Strings
	capAdd, capDrop    command.Strings
	addHost, dns       command.Strings
	publish            command.Strings
	network, hostname  string
	user, workdir      string
	memory, cpus       string
	readOnly, init     bool
	stopSignal         string
	cgroupParent       string
	logDriver          string
	logOpts            command.Strings
}

const runHelp = `
Usage: sm-docker-run run [flags] --name NAME IMAGE [ARGUMENT...]

Creates and starts a container, replacing any older one of that name, says
READY=1, and waits for its end. It exits with the container's exit status (with 1 for
75, which would say that the host failed), and on failure prints the container's last
line of output. On SIGTERM or SIGINT it stops the container; one that ends by its stop
signal makes this process end by SIGTERM, which systemd takes for a clean stop. The
container stays, for "sm-docker-run remove".

Example:
  ExecStart=/usr/local/bin/sm-docker-run run --unit %n --name web --env LEVEL=info nginx:1.27
`

// unitName is what systemd takes for the full name of a service unit, of up to 255
// characters.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.service$`)

// parseOptions reads the command line of run.
func parseOptions(w command.World) (*options, error) {
	o := newOptions()
	f := command.NewFlags("run", runHelp)
	o.define(f)
	f.StringVar(&o.record, "record", "", "run record: write the container's name, id and addresses to `file` before READY=1, for EnvironmentFile=")
	return o, o.read(f, w)
}

func newOptions() *options { return &options{stopTimeout: stopTimeout(10 * time.Second)} }

// define adds the flags that say what the container is.
func (o *options) define(f *command.Flags) {
	f.StringVar(&o.name, "name", "", "`name` of the container (required)")
	f.StringVar(&o.unit, "unit", "", "systemd `unit` that the container belongs to, %n in a unit file: its output goes to the journal under that unit, and sweep removes it when that unit of the system's service manager is not running")
	f.Var(&o.stopTimeout, "stop-timeout", "kill the container when it has not ended this long after its stop signal: a `duration`, or seconds")
	o.pull = pullFlag(f)
	o.patience = daemonFlag(f)

	f.Var(&o.addHost, "add-host", "add a `host:ip` line to /etc/hosts (repeatable)")
	f.Var(&o.capAdd, "cap-add", "add a Linux `capability` (repeatable)")
	f.Var(&o.capDrop, "cap-drop", "drop a Linux `capability` (repeatable)")
	f.StringVar(&o.cgroupParent, "cgroup-parent", "", "parent control `group`; with the systemd cgroup driver the default is the slice that this process is in")
	f.StringVar(&o.cpus, "cpus", "", "`number` of CPUs, such as 1.5")
	f.Var(&o.dns, "dns", "`address` of a DNS server (repeatable)")
	f.Var(&o.entrypoint, "entrypoint", "`program` to run instead of the image's entry point")
	f.Var(&o.env, "env", "set `name=value`, or pass the variable name on from this process (repeatable)")
	f.StringVar(&o.environmentFrom, "environment-from", "", "set the variables in the member \"environment\" of the JSON object in `file`; unlike --env, it shows their values to no other user; --env overrides it")
	f.StringVar(&o.hostname, "hostname", "", "the container's host `name`")
	f.BoolVar(&o.init, "init", false, "run an init that forwards signals and reaps processes")
	f.Var(&o.labels, "label", "set the label `name=value` (repeatable)")
	f.StringVar(&o.logDriver, "log-driver", "", "log `driver`; the default is journald with --unit, else the daemon's")
	f.Var(&o.logOpts, "log-opt", "log driver option `name=value` (repeatable)")
	f.StringVar(&o.memory, "memory", "", "memory `limit`, such as 64m; bytes without a unit")
	f.StringVar(&o.network, "network", "", "`network` to connect to")
	f.Var(&o.publish, "publish", "publish a port: `[[ip:]port:]port[/protocol]` (repeatable)")
	f.BoolVar(&o.readOnly, "read-only", false, "mount the root file system read-only")
	f.StringVar(&o.stopSignal, "stop-signal", "", "`signal` that stops the container, instead of the image's")
	f.Var(&o.tmpfs, "tmpfs", "mount a tmpfs at `path[:options]` (repeatable)")
	f.StringVar(&o.user, "user", "", "`user[:group]` to run as")
	f.Var(&o.volumes, "volume", "mount `source:path[:options]`, or an anonymous volume at path (repeatable)")
	f.StringVar(&o.workdir, "workdir", "", "working `folder`")
}

// read parses the command line, and checks what every container needs.
func (o *options) read(f *command.Flags, w command.World) error {
	if err := f.Parse(w, w.Args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return command.Usagef("%s: the image is missing", f.Name())
	}
	o.image, o.args = f.Arg(0), f.Args()[1:]
	if o.unit != "" && (!unitName.MatchString(o.unit) || len(o.unit) > 255) {
		return command.Usagef("--unit: must be the full name of a service unit, such as web.service; in a unit file, %%n (got %q)", o.unit)
	}
	return checkName(o.name)
}

// container translates the options to what the daemon's API takes.
func (o *options) container(env func(string) (string, bool)) (*container.Config, *container.HostConfig, error) {
	seconds := o.stopTimeout.seconds()
	c := &container.Config{
		Image:       o.image,
		Cmd:         o.args,
		Hostname:    o.hostname,
		User:        o.user,
		WorkingDir:  o.workdir,
		StopSignal:  o.stopSignal,
		StopTimeout: &seconds,
		Labels:      make(map[string]string),
		Volumes:     make(map[string]struct{}),
	}
	h := &container.HostConfig{
		NetworkMode:    container.NetworkMode(o.network),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		CapAdd:         []string(o.capAdd),
		CapDrop:        []string(o.capDrop),
		ExtraHosts:     o.addHost,
		DNS:            o.dns,
		ReadonlyRootfs: o.readOnly,
		Tmpfs:          make(map[string]string),
	}
	h.CgroupParent = o.cgroupParent
	if o.init {
		h.Init = &o.init
	}
	if o.entrypoint.set {
		// An empty entry point clears the image's, as docker run has it.
		c.Entrypoint = []string{o.entrypoint.value}
	}
	for _, e := range o.env {
		name, _, given := strings.Cut(e, "=")
		if name == "" {
			return nil, nil, command.Usagef("--env: must be NAME=VALUE or NAME (got no name)")
		}
		if !given {
			value, ok := env(name)
			if !ok {
				continue
			}
			e = name + "=" + value
		}
		c.Env = append(c.Env, e)
	}
	for _, l := range o.labels {
		name, value, _ := strings.Cut(l, "=")
		if name == "" {
			return nil, nil, command.Usagef("--label: must be NAME=VALUE or NAME (got %q)", l)
		}
		c.Labels[name] = value
	}
	for _, v := range o.volumes {
		source, _, bound := strings.Cut(v, ":")
		switch {
		case !bound && strings.HasPrefix(v, "/"):
			c.Volumes[v] = struct{}{}
		case !bound || source == "" || strings.HasPrefix(source, ".") || strings.HasPrefix(source, "~"):
			return nil, nil, command.Usagef("--volume: must be SOURCE:PATH[:OPTIONS] with an absolute path or a volume's name as SOURCE, or an absolute PATH alone (got %q)", v)
		default:
			h.Binds = append(h.Binds, v)
		}
	}
	for _, t := range o.tmpfs {
		path, mountOptions, _ := strings.Cut(t, ":")
		h.Tmpfs[path] = mountOptions
	}
	if o.memory != "" {
		n, err := units.RAMInBytes(o.memory)
		if err != nil {
			return nil, nil, command.Usagef("--memory: %w", err)
		}
		h.Memory = n
	}
	if o.cpus != "" {
		n, err := nanoCPUs(o.cpus)
		if err != nil {
			return nil, nil, command.Usagef("--cpus: %w", err)
		}
		h.NanoCPUs = n
	}
	exposed, bindings, err := nat.ParsePortSpecs(o.publish)
	if err != nil {
		return nil, nil, command.Usagef("--publish: %w", err)
	}
	c.ExposedPorts, h.PortBindings = exposed, bindings
	h.LogConfig, err = o.logConfig()
	if err != nil {
		return nil, nil, err
	}
	if o.unit != "" {
		c.Labels[unitLabel] = o.unit
		if h.LogConfig.Type == "journald" {
			c.Labels[journalLabel] = o.unit
		}
	}
	return c, h, nil
}

// journalLabel is the journal's field for "this message is about that unit". The
// journald log driver turns labels into fields when its option says so.
const journalLabel = "OBJECT_SYSTEMD_UNIT"

func (o *options) logConfig() (container.LogConfig, error) {
	driver := o.logDriver
	if driver == "" && o.unit != "" {
		driver = "journald"
	}
	opts := make(map[string]string)
	for _, l := range o.logOpts {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return container.LogConfig{}, command.Usagef("--log-opt: must be NAME=VALUE (got %q)", l)
		}
		opts[name] = value
	}
	if driver == "journald" && o.unit != "" {
		labels := []string{journalLabel}
		if opts["labels"] != "" {
			labels = append(labels, opts["labels"])
		}
		opts["labels"] = strings.Join(labels, ",")
		if _, ok := opts["tag"]; !ok {
			// The journal shows this before each line; Docker's default is an id.
			opts["tag"] = "{{.Name}}"
		}
	}
	return container.LogConfig{Type: driver, Config: opts}, nil
}

// inJournal reports whether the container's output is in the journal, under the
// unit that this process runs in.
func (o *options) inJournal() bool {
	return o.unit != "" && (o.logDriver == "" || o.logDriver == "journald")
}

// nanoCPUs reads a number of CPUs such as 1.5, in units of a billionth.
func nanoCPUs(text string) (int64, error) {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, fmt.Errorf("not a number (got %q)", text)
	}
	r.Mul(r, big.NewRat(1e9, 1))
	if !r.IsInt() || !r.Num().IsInt64() || r.Sign() <= 0 {
		return 0, fmt.Errorf("must be more than 0, with nine decimals at most (got %q)", text)
	}
	return r.Num().Int64(), nil
}

// stopTimeout is a duration flag that also takes docker's form, whole seconds.
type stopTimeout time.Duration

func (s *stopTimeout) String() string { return time.Duration(*s).String() }
func (s *stopTimeout) Set(v string) error {
	d, err := time.ParseDuration(v)
	if n, numErr := strconv.ParseUint(v, 10, 31); numErr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("must be a duration such as 10s, or seconds")
	}
	*s = stopTimeout(d)
	return nil
}

// seconds returns the time-out in the API's unit, rounded up.
func (s stopTimeout) seconds() int {
	return int((time.Duration(s) + time.Second - 1) / time.Second)
}

// optional is a string flag that distinguishes "not given" from "given empty".
type optional struct {
	set   bool
	value string
}

func (o *optional) String() string     { return o.value }
func (o *optional) Set(v string) error { o.set, o.value = true, v; return nil }
