package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/systemd"
)

const sweepHelp = `
Usage: sm-docker-run sweep [flags]

Removes every container that "sm-docker-run run --unit" made for a unit that is
not running: what a power cut leaves behind. Containers whose unit is active,
starting, stopping or waiting for its next start are not touched.
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
	d, err := connect(ctx, w, "", *patience)
	if err != nil {
		return err
	}
	defer d.Close()
	var containers []container.Summary
	err = d.Retry(ctx, func() error {
		containers, err = d.ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", unitLabel)),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("list the containers with label %s: %w", unitLabel, err)
	}
	if len(containers) == 0 {
		return nil
	}
	// Asked after the list was made: a unit that has started since then counts as
	// running, and what it made since then is not in the list.
	states, err := unitStates(ctx, containers)
	if err != nil {
		return err
	}
	var problems []error
	for _, c := range containers {
		unit := c.Labels[unitLabel]
		state, known := states[unit]
		if !known || state.live {
			continue
		}
		name := strings.TrimPrefix(strings.Join(c.Names, " "), "/")
		if err := d.Remove(ctx, c.ID); err != nil {
			problems = append(problems, about(name, err))
			continue
		}
		fmt.Fprintf(w.Stdout, "removed container %s (%s), which was %s: its unit %s is %s\n",
			name, docker.Short(c.ID), c.State, unit, state.text)
	}
	return errors.Join(problems...)
}

type unitState struct {
	live bool
	text string
}

// unitStates asks systemd for the states of the units that containers belong to.
func unitStates(ctx context.Context, containers []container.Summary) (map[string]unitState, error) {
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	states := make(map[string]unitState)
	for _, c := range containers {
		unit := c.Labels[unitLabel]
		if _, ok := states[unit]; ok {
			continue
		}
		status, err := conn.State(ctx, unit)
		if err != nil {
			return nil, err
		}
		text := status.ActiveState
		if status.LoadState == "not-found" {
			text = "not there"
		}
		// A queued job may be about to start it.
		states[unit] = unitState{systemd.Live(status) || status.JobId != 0, text}
	}
	return states, nil
}
