package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/hint"
)

const pullHelp = `
Usage: sm-docker-run pull [flags] IMAGE

Fetches an image. Credentials are those that "docker login" has stored for this
user, credential helpers included. Progress shows in systemctl status, and keeps
TimeoutStartSec= from ending the pull. After 5 minutes without progress it gives up.

Example:
  ExecStartPre=/usr/local/bin/sm-docker-run pull --name web nginx:1.27
`

// stall is how long a pull may go without progress: a connection to a registry that has
// died says nothing more. A layer that is being unpacked makes progress, too.
const stall = 5 * time.Minute

// slack is how much later systemd would end a pull.
const slack = 10 * time.Second

// policies are docker run's words for when to pull.
var policies = []string{"missing", "always", "never"}

// pullOptions is what the command line of pull says.
type pullOptions struct {
	name, record, image string
	policy              *pullPolicy
	patience            *time.Duration
}

func parsePull(w command.World) (o pullOptions, err error) {
	f := command.NewFlags("pull", pullHelp)
	f.StringVar(&o.name, "name", "", "`name` of the container that the image is for")
	f.StringVar(&o.record, "record", "", "run record: write the container's name to `file` first")
	o.policy = pullFlag(f)
	o.patience = daemonFlag(f)
	if err := f.Parse(w, w.Args); err != nil {
		return o, err
	}
	if f.NArg() != 1 {
		return o, command.Usagef("pull takes one image (got %d)", f.NArg())
	}
	o.image = f.Arg(0)
	if o.name != "" || o.record != "" {
		return o, checkName(o.name)
	}
	return o, nil
}

func pull(ctx context.Context, w command.World) error {
	o, err := parsePull(w)
	if err != nil {
		return err
	}
	if err := record.write(record{name: o.name}, o.record); err != nil {
		return about(o.name, err)
	}
	err = func() error {
		d, err := docker.Connect(ctx, w.Notify, *o.patience)
		if err != nil {
			return err
		}
		defer d.Close()
		return ensureImage(ctx, w, d, o.image, string(*o.policy), stall)
	}()
	if err != nil && ctx.Err() != nil {
		// Stopped, or out of time, which is the fault of Docker or of the registry.
		err = &command.HostError{Err: err}
	}
	return about(o.name, err)
}

// ensureImage makes sure that the image is here, by the policy. It gives up when a pull
// makes no progress for as long as stall.
func ensureImage(ctx context.Context, w command.World, d *docker.Daemon, image, policy string, stall time.Duration) error {
	shown, named, err := docker.ParseImage(image)
	if err != nil {
		return err
	}
	if policy != "always" {
		here, err := d.HasImage(ctx, image)
		if err != nil || here {
			return err
		}
		if policy == "never" {
			return hint.Add(fmt.Errorf("image %s is not here, and --pull=never", shown), "run docker pull %s", shown)
		}
	}
	if named == nil {
		return fmt.Errorf("image %s is not here, and cannot be pulled by its id", shown)
	}
	auth, err := docker.Credentials(named)
	if err != nil {
		return err
	}
	begin := time.Now()
	w.Notify.Status("pulling %s", shown)
	w.Notify.ExtendTimeout(stall + slack)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stall, func() {
		cancel(&command.HostError{Err: fmt.Errorf("no progress for %s", stall)})
	})
	defer stalled.Stop()
	var last docker.Progress
	var said time.Time
	err = d.Pull(ctx, named, auth, func(p docker.Progress) {
		last = p
		stalled.Reset(stall)
		if time.Since(said) < time.Second {
			return
		}
		said = time.Now()
		w.Notify.Status("pulling %s: %s", shown, p)
		w.Notify.ExtendTimeout(stall + slack)
	})
	if err != nil {
		return err
	}
	w.Notify.Status("pulled %s", shown)
	fmt.Fprintf(w.Stdout, "pulled %s in %s (%s)\n", shown, time.Since(begin).Round(100*time.Millisecond), last.Summary())
	return nil
}

// pullPolicy is a flag with one of the policies.
type pullPolicy string

func pullFlag(f *command.Flags) *pullPolicy {
	p := pullPolicy("missing")
	f.Var(&p, "pull", "`when` to pull the image: missing, always or never")
	return &p
}

func (p *pullPolicy) String() string { return string(*p) }
func (p *pullPolicy) Set(v string) error {
	if !slices.Contains(policies, v) {
		return fmt.Errorf("must be one of %s", strings.Join(policies, ", "))
	}
	*p = pullPolicy(v)
	return nil
}
