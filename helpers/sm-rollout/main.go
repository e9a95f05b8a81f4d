// The sm-rollout helper starts a service, decides what becomes of a revision, and
// stops the runners that it replaces.
//
// It is the manager's start, reload and stop (start, renew, stop), the first step of a runner's
// start (wait) and its last (accept), the last of its stop (reject), the step before the
// container of one that must run alone (replace), what watches over them (settle,
// outage), and what changes the number of replicas (scale).
package main

import (
	"context"
	"runtime"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/running"
	"service-manager/units/host"
	"service-manager/units/name"
	"service-manager/units/revision"
)

const help = `
Usage: sm-rollout start SERVICE
       sm-rollout wait SERVICE REVISION
       sm-rollout replace SERVICE REVISION
       sm-rollout accept SERVICE REVISION
       sm-rollout reject SERVICE REVISION
       sm-rollout stop SERVICE
       sm-rollout renew SERVICE
       sm-rollout scale SERVICE@REVISION
       sm-rollout settle SERVICE@REVISION
       sm-rollout outage SERVICE

Starts a service, records the outcome of its revisions, and stops the runners
that they replace. A REVISION may be followed by the number of one of its runners,
such as :2; without one, it is the first.

  start   start the runners of the good revision and of one that is pending, and
          Docker, and wait until one serves. Fails, with the reason of each, when
          none will. When systemd has restarted the unit, it does not fail but
          waits for an edit, and leaves Docker alone.
  wait    wait for the end of the pause after failures, for Docker, for the end of a
          revision that runs alone (see replace), and for a turn:
          PARALLEL_STARTS= in service-manager.conf limits how many start at once.
  replace make way for a revision whose container must not run beside another. If it
          is the current one, clients are kept waiting (sm-hold@SERVICE.service), every
          other runner of the service is stopped, and replace waits for that. When the
          revision fails later, reject starts the good one again.
  accept  the runner serves. If its revision is the current one, and all of its
          replicas serve, it becomes the good one and the runners of every other
          revision are stopped; accept does not wait for that. If it is the good one
          already, and more of its runners serve than it has replicas, the one that
          has served longest is stopped. Otherwise a newer one has replaced it,
          and it is drained and stopped as soon as it has started.
  reject  the unit has stopped. If it failed ($SERVICE_RESULT) and the revision
          never became good, the failure is recorded with its reason, and all runners
          but those of the good one are stopped. A good one is
          started again, and so is one whose step exited with status 75: then it
          was the host that failed. A unit that is being stopped has not failed.
  stop    stop every runner of the service and wait until all have stopped. As a
          command of a unit, only when the manager is being stopped for good.
  renew   replace the containers of the good revision by new ones of the same, one after
          the other: start a runner that is free, whose accept retires the one that has
          served longest, and wait for that. If it fails, those that serve are not
          touched. A revision that must run alone is restarted, while clients wait.
  scale   REVISION changes only the number of replicas: start the runners of the good
          revision that are missing, or stop those that are too many.
  settle  a start is over: if the runner was neither accepted nor rejected,
          because a reload has changed its commands, start it again.
  outage  fail once nothing has served for a minute.

The commands are steps of a runner's unit:

  ExecStartPre=/usr/local/bin/sm-rollout wait web 2-9ab…
  ExecStartPost=/usr/local/bin/sm-rollout accept web 2-9ab…
  ExecStopPost=/usr/local/bin/sm-rollout reject web 2-9ab…

of a manager's:

  ExecStart=/usr/local/bin/sm-rollout start web
  ExecReload=/usr/local/bin/sm-rollout renew web
  ExecStopPost=/usr/local/bin/sm-rollout stop web

and of sm-scale@.service, sm-settle@.service and sm-outage@.service.
`

func main() {
	command.Main("sm-rollout", func(ctx context.Context, w command.World) error {
		return run(ctx, w, revision.Store{Root: revision.Root, Run: revision.Run}, connect)
	})
}

// run is the whole helper. connect opens a connection to systemd, which only
// some outcomes need.
func run(ctx context.Context, w command.World, store revision.Store, connect func(context.Context) (systemdConn, error)) error {
	r := rollout{w: w, store: store, connect: connect, lives: running.Container.Lives}
	return command.Verbs(w, help, map[string]func(command.World) error{
		"start":   ofService(ctx, r.start),
		"stop":    ofService(ctx, r.stop),
		"outage":  ofService(ctx, r.outage),
		"renew":   ofService(ctx, r.renew),
		"accept":  ofRunner(ctx, r.accept),
		"reject":  ofRunner(ctx, r.reject),
		"replace": ofRunner(ctx, r.replace),
		"settle":  ofUnit(ctx, r.settle),
		"scale":   ofUnit(ctx, r.scale),
		"wait": ofRunner(ctx, func(ctx context.Context, runner name.Runner) error {
			setting, err := host.Setting("/", "PARALLEL_STARTS")
			if err == nil {
				r.starts, err = parallelStarts(setting, runtime.NumCPU())
			}
			if err != nil {
				// A mistake in the settings must not keep a service down.
				r.starts, _ = parallelStarts("", runtime.NumCPU())
				w.Warning("%s: %v; %d is used instead", host.Settings, err, r.starts)
			}
			return r.wait(ctx, runner)
		}),
	})
}
