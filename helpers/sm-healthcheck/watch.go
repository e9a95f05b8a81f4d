package main

import (
	"context"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/sm-healthcheck/keeper"
)

const watchHelp = `
Usage: sm-healthcheck watch

Watches over the containers of this host that sm-docker-run has started with a run
record, and over what sm-ipvs has added to the load balancer:

  A container that was probed with --failures is probed for as long as it runs. When
  that many probes in a row have failed, it gets no new connections until it is
  healthy again, unless no other destination of the virtual service gets any. When
  it has been unhealthy for --restart-after, its unit is restarted: one of a service
  at a time.
  A container whose first process has ended leaves the load balancer at once.
  What another program removes from the load balancer is put back within a second,
  and what it adds at an address of a unit is removed.

It touches no virtual service that sm-ipvs has not made. When it is stopped, every
destination gets the connections again that its unit gave it. If it is killed, it
continues where it was.

In a unit:
  ExecStart=sm-healthcheck watch
`

func watch(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-healthcheck watch", watchHelp)
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if flags.NArg() != 0 {
		return command.Usagef("watch takes no arguments (got %q)", flags.Arg(0))
	}
	return keeper.New(w).Run(ctx)
}
