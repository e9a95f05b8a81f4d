// The sm-docker-run helper takes one container from its image to its exit, as the main
// process of a systemd unit. It pulls the image, replaces what a crash may have
// left of an earlier container of the same name, starts the container, says where
// it can be reached, and then lives exactly as long as the container does.
package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
)

func main() { command.Main("sm-docker-run", run) }

func run(ctx context.Context, w command.World) error {
	return command.Verbs(w, help, map[string]func(command.World) error{
		"pull":   func(w command.World) error { return pull(ctx, w) },
		"once":   func(w command.World) error { return once(ctx, w) },
		"run":    func(w command.World) error { return runContainer(ctx, w) },
		"remove": func(w command.World) error { return remove(ctx, w, docker.Removal) },
		"sweep":  func(w command.World) error { return sweep(ctx, w) },
	})
}

const help = `
Usage: sm-docker-run pull   [flags] IMAGE
       sm-docker-run once   [flags] --name NAME --done FILE IMAGE [ARGUMENT...]
       sm-docker-run run    [flags] --name NAME IMAGE [ARGUMENT...]
       sm-docker-run remove [flags] --name NAME
       sm-docker-run sweep  [flags]

One container, from image to exit, as a systemd service.

  pull    fetch the image if it is not here; progress shows in systemctl status
  once    run a container to its end, unless that was done before
  run     create and start the container, say READY=1, and wait for its end; exit
          with its exit status; on SIGTERM stop it gracefully
  remove  remove the container of that name and its anonymous volumes
  sweep   remove the containers whose unit is not running

Flags that "docker run" has too mean the same.

A unit written by hand:

  [Unit]
  After=docker.service
  [Service]
  Type=notify
  NotifyAccess=exec
  TimeoutStartSec=5min
  Restart=always
  ExecStartPre=/usr/local/bin/sm-docker-run pull --name web nginx:1.27
  ExecStart=/usr/local/bin/sm-docker-run run --unit %n --name web --volume /srv/www:/usr/share/nginx/html:ro nginx:1.27
  ExecStopPost=/usr/local/bin/sm-docker-run remove --name web
`

// patience is how long a helper waits for a Docker daemon that does not answer,
// by default: a restart of the daemon takes a few seconds.
const patience = 20 * time.Second

// daemonFlag adds the flag that all verbs have.
func daemonFlag(f *command.Flags) *time.Duration {
	return f.Duration("docker-timeout", patience, "wait at most `duration` for a Docker daemon that does not answer")
}

// about puts the container's name before an error, and marks one that is the host's.
func about(name string, err error) error {
	if err == nil {
		return nil
	}
	cause := err
	if left := (*leftError)(nil); errors.As(err, &left) {
		cause = left.start // whatever came of the removal
	}
	if !errors.As(cause, new(*command.ExitError)) && docker.OfHost(cause) {
		err = &command.HostError{Err: err}
	}
	if name == "" {
		return err
	}
	return &aboutError{name, err}
}

type aboutError struct {
	name string
	err  error
}

func (e *aboutError) Error() string { return e.name + ": " + e.err.Error() }
func (e *aboutError) Unwrap() error { return e.err }

// checkName refuses what the daemon would refuse later, in less plain words.
func checkName(name string) error {
	if name == "" {
		return command.Usagef("--name is missing: the name of the container")
	}
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if len(name) < 2 || !strings.Contains(first, name[:1]) || strings.Trim(name, first+"_.-") != "" {
		return command.Usagef("--name: must be two or more of the characters A-Z a-z 0-9 _ . - and begin with a letter or digit (got %q)", name)
	}
	return nil
}
