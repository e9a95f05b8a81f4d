package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/hint"
)

const removeHelp = `
Usage: sm-docker-run remove [flags] --name NAME

Removes the container of that name and its anonymous volumes, running or not.
Succeeds if there is none. The run record is removed first: the container's address
may soon be another container's. Fails when Docker has not done it 5 s after
--docker-timeout, so that the next command of the unit runs.

Example:
  ExecStopPost=/usr/local/bin/sm-docker-run remove --name web
`

// removeOptions is what the command line of remove says.
type removeOptions struct {
	name, record string
	patience     *time.Duration
}

func parseRemove(w command.World) (o removeOptions, err error) {
	f := command.NewFlags("remove", removeHelp)
	f.StringVar(&o.name, "name", "", "`name` of the container")
	f.StringVar(&o.record, "record", "", "run record: delete `file` first")
	o.patience = daemonFlag(f)
	if err := f.Parse(w, w.Args); err != nil {
		return o, err
	}
	if f.NArg() != 0 {
		return o, command.Usagef("remove takes no arguments (got %q); the container is given by --name", f.Arg(0))
	}
	return o, checkName(o.name)
}

// remove removes a container, unless the daemon takes longer than its patience and removal.
// With the default patience that is less than the 30 s that a generated unit gives a command
// of ExecStopPost= at least: when one takes longer, systemd skips those that follow.
func remove(ctx context.Context, w command.World, removal time.Duration) error {
	o, err := parseRemove(w)
	if err != nil {
		return err
	}
	if o.record != "" {
		if err := os.Remove(o.record); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return about(o.name, fmt.Errorf("delete the run record: %w", err))
		}
	}
	limit := *o.patience + removal
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d, err := docker.ConnectToEnd(limited, w.Notify, *o.patience)
	if err == nil {
		defer d.Close()
		_, err = d.RemoveNamed(limited, o.name)
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = &command.HostError{Err: fmt.Errorf("the Docker daemon did not remove it within %s", limit)}
	}
	if err = about(o.name, err); err != nil {
		return hint.Add(fmt.Errorf("%w; the container is left as it is", err), "run docker rm -f %s, or start its unit again", o.name)
	}
	return nil
}
