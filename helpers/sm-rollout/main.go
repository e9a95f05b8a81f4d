// The sm-rollout helper starts a service, decides what becomes of a revision, and
// stops the runners that it replaces.
//
// It is the manager's start, reload and stop (start, renew, stop), the first step of a runner's
// start (wait) and its last (accept), the last of its stop (reject), the step before the
// container of one that must run alone (replace), and what watches over them (settle,
// outage).
package main

import (
	"context"
	"runtime"

	"service-manager/helpers/internal/command"
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
       sm-rollout settle SERVICE@REVISION
       sm-rollout outage SERVICE

Starts a service, records the outcome of its revisions, and stops the runners
that they replace. A REVISION of which another runner is meant than the first has :2
behind it.

  start   start the runners of the good revision and of one that is pending, and
          Docker, and wait until one serves. Fails, with the reason of each, when
          none will. When systemd has restarted the unit, it does not fail but
          waits for an edit, and leaves Docker alone.
  wait    wait for the end of the pause after failures, for Docker, for the end of a
          revision that runs alone (see replace), and for a turn:
          PARALLEL_STARTS= in service-manager.conf limits how many start at once.
  replace the container of the revision must not run beside another. If it is the
          current one, clients are kept waiting (sm-hold@SERVICE.service), every other
          runner of the service is stopped, and replace waits for that. When it fails
          later, reject starts the good one again.
  accept  the revision serves. If it is the current one, it becomes the good one
          and every other runner of the service is stopped; accept does not wait
          for that. If it is the good one already, there is nothing to do.
          Otherwise a newer one has replaced it, and it is stopped, in order, as
          soon as it has started.
  reject  the unit has stopped. If it failed ($SERVICE_RESULT) and the revision
          never served, the failure is recorded with its reason. A good one is
          started again, and so is one whose step exited with status 75: then it
          was the host that failed. A unit that is being stopped has not failed.
  stop    stop every runner of the service and wait until all have stopped. As a
          command of a unit, only when the manager is being stopped for good.
  renew   replace the container of the good revision by a new one of the same: start
          its other runner (REVISION:2, or the first again), whose accept retires the one
          that serves, and wait for that. If it fails, the one that serves is not touched.
          A revision that must run alone is restarted, while clients wait.
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

and of sm-settle@.service and sm-outage@.service.
`

func main() {
	command.Main("sm-rollout", func(ctx context.Context, w command.World) error {
		return run(ctx, w, revision.Store{Root: revision.Root, Run: revision.Run}, connect)
	})
}

// run is the whole helper. connect opens a connection to systemd, which only
// some outcomes need.
func run(ctx context.Context, w command.World, store revision.Store, connect func(context.Context) (systemdConn, error)) error {
	r := rollout{w: w, store: store, connect: connect}
	return command.Verbs(w, help, map[string]func(command.World) error{
		"start":   ofService(ctx, r.start),
		"stop":    ofService(ctx, r.stop),
		"outage":  ofService(ctx, r.outage),
		"renew":   ofService(ctx, r.renew),
		"accept":  ofRunner(ctx, r.accept),
		"reject":  ofRunner(ctx, r.reject),
		"replace": ofRunner(ctx, r.replace),
		"settle":  ofUnit(ctx, r.settle),
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
