// The sm-rollout helper records what became of a revision of a service, and
// stops the runners that it replaces.
//
// It is the last step of a runner's start (accept), the last of its stop
// (reject), and the manager's way to stop all runners (stop).
package main

import (
	"context"

	"service-manager/helpers/internal/command"
	"service-manager/units/revision"
)

const help = `
Usage: sm-rollout accept SERVICE REVISION
       sm-rollout reject SERVICE REVISION
       sm-rollout stop SERVICE

Records the outcome of a revision of a service, and stops the runners that it
replaces.

  accept  the revision serves. If it is the current one, it becomes the good one
          and every other runner of the service is stopped; that goes on after
          accept has returned. If it is the good one already, there is nothing
          to do. Otherwise a newer one has replaced it, and it is stopped, in
          order, as soon as it has started.
  reject  the unit has stopped. If it failed ($SERVICE_RESULT) and the revision
          never served, the failure is recorded with its reason. What
          somebody stops has not failed.
  stop    stop every runner of the service and wait until all have stopped.

The commands are steps of a runner's unit:

  ExecStartPost=/usr/local/bin/sm-rollout accept web 2-9ab…
  ExecStopPost=/usr/local/bin/sm-rollout reject web 2-9ab…

and of a manager's:

  ExecStop=/usr/local/bin/sm-rollout stop web
`

func main() {
	command.Main("sm-rollout", func(ctx context.Context, w command.World) error {
		return run(ctx, w, revision.Store{Root: revision.Root, Run: revision.Run}, connect)
	})
}

// run is the whole helper. connect opens a connection to systemd, which only
// some outcomes need.
func run(ctx context.Context, w command.World, store revision.Store, connect func(context.Context) (systemdConn, error)) error {
	r := rollout{w, store, connect}
	return command.Verbs(w, help, map[string]func(command.World) error{
		"accept": func(w command.World) error {
			service, name, err := serviceAndRevision(w)
			if err != nil {
				return err
			}
			return r.accept(ctx, service, name)
		},
		"reject": func(w command.World) error {
			service, name, err := serviceAndRevision(w)
			if err != nil {
				return err
			}
			return r.reject(ctx, service, name)
		},
		"stop": func(w command.World) error {
			operands, err := operands(w, "SERVICE")
			if err != nil {
				return err
			}
			return r.stop(ctx, operands[0])
		},
	})
}
