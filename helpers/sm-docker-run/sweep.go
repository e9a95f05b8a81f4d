package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/systemd"
)

const sweepHelp = `
Usage: sm-docker-run sweep [flags]

Removes every container that "sm-docker-run run --unit" made for a unit that is
not running: what a power cut leaves behind. Containers whose unit is active,
starting, stopping or waiting for its next start are not touched. While Docker does
not run there is nothing to do, and that is success.
`

// unitLabel marks our containers, and names the unit that each belongs to.
const unitLabel = "service-manager.unit"

func sweep(ctx context.Context, w command.World) error {
	f := command.NewFlags("sweep", sweepHelp)
	patience := daemonFlag(f)
	if err := f.Parse(w, w.Args); err != nil {
		return err
	}
	if f.NArg() != 0 {
		return command.Usagef("sweep takes no arguments (got %q)", f.Arg(0))
	}
	d, err := docker.ConnectToEnd(ctx, w.Notify, *patience)
	if err != nil {
		return unlessDown(ctx, w, err)
	}
	defer d.Close()
	containers, err := d.Labelled(ctx, unitLabel)
	if err != nil || len(containers) == 0 {
		return unlessDown(ctx, w, err)
	}
	// Asked after the list was made: a unit that has started since counts as running, and
	// what it has made since is not in the list.
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var problems []error
	for _, c := range containers {
		unit, name := c.Labels[unitLabel], docker.NameOf(c)
		state, err := stateOf(ctx, conn, unit)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w; it is left as it is: run \"docker rm -f %s\" if nothing uses it", name, err, name))
			continue
		}
		if state.live {
			continue
		}
		if err := d.Remove(ctx, c.ID); err != nil {
			problems = append(problems, about(name, err))
			continue
		}
		fmt.Fprintf(w.Stdout, "removed container %s (%s), which was %s: its unit %s is %s\n",
			name, docker.Short(c.ID), c.State, unit, state.text)
	}
	return errors.Join(problems...)
}

// unlessDown returns err, or nil, with a line of output, when Docker was stopped or has
// failed: systemd would repeat a sweep that fails for as long as that lasts, and the start
// of Docker brings the next one.
func unlessDown(ctx context.Context, w command.World, err error) error {
	if err == nil {
		return nil
	}
	conn, connErr := systemd.Connect(ctx)
	if connErr != nil {
		return about("", err)
	}
	defer conn.Close()
	state, stateErr := conn.State(ctx, docker.Unit)
	if stateErr != nil || !down(state) {
		return about("", err)
	}
	fmt.Fprintf(w.Stdout, "nothing to sweep: %s is %s; its start sweeps\n", docker.Unit, state.ActiveState)
	return nil
}

// down reports whether Docker does not run, and is not about to.
func down(state dbus.UnitStatus) bool {
	return state.LoadState == "loaded" && !systemd.Busy(state)
}

type unitState struct {
	live bool
	text string
}

// stateOf asks systemd for the state of the unit that a container belongs to.
func stateOf(ctx context.Context, conn *systemd.Conn, unit string) (unitState, error) {
	status, err := conn.State(ctx, unit)
	if err != nil {
		return unitState{}, err
	}
	text := status.ActiveState
	if status.LoadState == "not-found" {
		text = "not there"
	}
	// A queued job may be about to start it.
	return unitState{systemd.Busy(status), text}, nil
}
