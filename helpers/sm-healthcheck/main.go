// The sm-healthcheck helper waits until a service answers a probe, and, when asked,
// keeps answering for a while. As a step of a unit's start it decides whether what
// the unit runs may get traffic. As a resident process, one for the whole host (watch), it
// keeps asking, and sees to it that only what is healthy gets connections.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/mainprocess"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/sm-healthcheck/probe"
)

const help = `
Usage: sm-healthcheck [--flag VALUE]... URL
       sm-healthcheck watch

Waits until URL is healthy and stays so for --hold. Fails with the last reason if
that has not begun within --timeout.

URL is one of
  http://HOST:PORT/PATH, https://HOST:PORT/PATH
                    healthy with an answer of status 200 to 399 that is complete
                    (or 1 MiB long) in time; redirects are not followed
  tcp://HOST:PORT   healthy when a connection is accepted
  unix:///PATH      the same, for a socket in the file system
  process:          healthy as long as the unit's main process runs; for what
                    cannot be probed, together with --hold

In a unit it stops waiting as soon as the unit's main process ends, and shows the
last failure in the unit's status. No probe leaves a connection behind.
With --failures, "sm-healthcheck watch", which sm-watch.service runs, keeps probing
a container once it is healthy; 'sm-healthcheck watch -h' explains that.
sm-healthcheck --version prints the version.

In a unit:
  ExecStartPost=sm-healthcheck --timeout 60s --hold 2s http://${SM_CONTAINER_IP}:80/
`

// grace is what setting up and cleaning up may take beyond the time-outs.
const grace = 10 * time.Second

func main() { command.Main("sm-healthcheck", run) }

func run(ctx context.Context, w command.World) error {
	if len(w.Args) > 0 && w.Args[0] == "watch" {
		return command.Verbs(w, help, map[string]func(command.World) error{
			"watch": func(w command.World) error { return watch(ctx, w) },
		})
	}
	return waitOnce(ctx, w)
}

// waitOnce waits for the health of what a unit starts.
func waitOnce(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-healthcheck", help)
	timeout := flags.Duration("timeout", 60*time.Second, "the longest `duration` to wait for a success")
	interval := flags.Duration("interval", 250*time.Millisecond, "the `duration` from one probe to the next; the first ones are closer together")
	hold := flags.Duration("hold", 0, "the `duration` for which probes must keep succeeding; a failure starts the hold over")
	probeTimeout := flags.Duration("probe-timeout", 5*time.Second, "the longest `duration` of one probe")
	failures := flags.Int("failures", 0, "make 'sm-healthcheck watch' keep probing the container, which is unhealthy after this `number` of failures in a row")
	restartAfter := flags.Duration("restart-after", 0, "make 'sm-healthcheck watch' restart the unit when the container has been unhealthy for this `duration`; with 0 it does not")
	verify := flags.Bool("verify", false, "verify the certificate of an https URL; without it any certificate will do")
	var headers command.Strings
	flags.Var(&headers, "header", "a `header` \"Name: value\" to send with an http or https probe; may be repeated")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	plan := plan{timeout: *timeout, interval: *interval, hold: *hold}
	switch {
	case flags.NArg() != 1:
		return command.Usagef("one URL must be given (got %d)", flags.NArg())
	case plan.timeout <= 0, plan.interval <= 0, *probeTimeout <= 0:
		return command.Usagef("--timeout, --interval and --probe-timeout: must be above 0")
	case plan.hold < 0:
		return command.Usagef("--hold: must be 0 or more (got %s)", plan.hold)
	case *failures < 0, *restartAfter < 0:
		return command.Usagef("--failures and --restart-after: must be 0 or more")
	case *restartAfter > 0 && *failures == 0:
		return command.Usagef("--restart-after: needs --failures")
	}
	header, err := probe.ParseHeaders(headers)
	if err != nil {
		return &command.UsageError{Err: err}
	}
	asks, err := probe.Parse(flags.Arg(0), probe.Options{Header: header, Verify: *verify})
	if err != nil && !errors.Is(err, probe.ErrNoHost) {
		return &command.UsageError{Err: err}
	}
	if err == nil && len(headers) > 0 && !probe.TakesHeaders(asks) {
		return command.Usagef("--header: must be with a probe that sends headers, such as http (got %s)", asks)
	}

	watched, release, watchErr := mainprocess.Watch(ctx, w)
	if watchErr != nil {
		return named(w, watchErr)
	}
	defer release()
	// Before anything else: when the main process is gone, every other error is
	// only a consequence of that.
	if context.Cause(watched) == mainprocess.ErrGone {
		return named(w, mainprocess.Gone("wait for health"))
	}
	if err != nil {
		return named(w, hint.Add(fmt.Errorf("wait for health: %w", err), "check with systemctl status that its container has started"))
	}
	if probe.NeedsProcess(asks) && w.Getenv("MAINPID") == "" {
		return command.Usagef("%s is for ExecStartPost= of a unit with a main process", flags.Arg(0))
	}
	container := w.Getenv("SM_CONTAINER_ID")
	if *failures > 0 && container == "" {
		return named(w, command.Usagef("--failures: needs SM_CONTAINER_ID, from the run record of sm-docker-run run --record"))
	}
	// The last probe may begin when the time is nearly up.
	w.Notify.ExtendTimeout(plan.timeout + plan.hold + *probeTimeout + grace)
	err = plan.wait(watched, w, asks.String(), func(ctx context.Context) (string, error) {
		return probe.Once(ctx, asks, *probeTimeout)
	})
	if err == nil && *failures > 0 {
		err = running.Host.NoteCheck(container, running.Check{
			URL: flags.Arg(0), Headers: headers, Verify: *verify, Interval: plan.interval, Timeout: *probeTimeout,
			Failures: *failures, RestartAfter: *restartAfter,
		})
	}
	return named(w, err)
}

// named puts the container's name, from its run record, before an error.
func named(w command.World, err error) error {
	name := w.Getenv("SM_CONTAINER_NAME")
	if err == nil || name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}
