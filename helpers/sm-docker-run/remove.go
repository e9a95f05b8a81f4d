package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/hint"
)

const removeHelp = `
Usage: sm-docker-run remove [flags] --name NAME

Removes the container of that name and its anonymous volumes, running or not.
Succeeds if there is none. The run record is removed first: the container's address
may soon be another container's.

Example:
  ExecStopPost=/usr/local/bin/sm-docker-run remove --name web
`

func remove(ctx context.Context, w command.World) error {
	f := command.NewFlags("remove", removeHelp)
	name := f.String("name", "", "`name` of the container")
	record := f.String("record", "", "run record: delete `file` first")
	patience := daemonFlag(f)
	if err := f.Parse(w, w.Args); err != nil {
		return err
	}
	if f.NArg() != 0 {
		return command.Usagef("remove takes no arguments (got %q); the container is given by --name", f.Arg(0))
	}
	if err := checkName(*name); err != nil {
		return err
	}
	if *record != "" {
		if err := os.Remove(*record); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return about(*name, fmt.Errorf("delete the run record: %w", err))
		}
	}
	d, err := docker.ConnectToEnd(ctx, w.Notify, *patience)
	if err == nil {
		defer d.Close()
		_, err = d.RemoveNamed(ctx, *name)
	}
	if err = about(*name, err); err != nil {
		return hint.Add(fmt.Errorf("%w; the container is left as it is", err), "run docker rm -f %s, or start its unit again", *name)
	}
	return nil
}
