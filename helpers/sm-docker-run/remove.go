package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"service-manager/helpers/internal/command"
)

const removeHelp = `
Usage: sm-docker-run remove [flags] --name NAME

Removes the container of that name and its anonymous volumes, running or not.
There being none is success. The run record goes last: as long as it is there, a
removal that was cut off can be seen and done again.

Example:
  ExecStopPost=/usr/local/bin/sm-docker-run remove --name web
`

func remove(ctx context.Context, w command.World) error {
	f := command.NewFlags("remove", removeHelp)
	name := f.String("name", "", "`name` of the container")
	record := f.String("record", "", "run record: delete `file` at the end")
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
	d, err := connect(ctx, w, *name, *patience)
	if err == nil {
		defer d.Close()
		_, err = d.RemoveNamed(ctx, *name)
		err = about(*name, err)
	}
	if err != nil {
		err = fmt.Errorf("%w; the container is left as it is: run \"docker rm -f %s\", or start its unit again", err, *name)
	}
	// Also after a failure: the container's address may be another container's soon.
	if *record != "" {
		if recordErr := os.Remove(*record); recordErr != nil && !errors.Is(recordErr, fs.ErrNotExist) {
			err = errors.Join(err, about(*name, fmt.Errorf("delete the run record: %w", recordErr)))
		}
	}
	return err
}
