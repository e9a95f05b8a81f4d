package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/process"
)

// asTold silences the error of a stop that was asked for. If that was because a step of
// the start has failed, the step has said why: how the container ends then must not
// replace the reason.
func asTold(err error) error {
	if err == nil {
		return nil
	}
	return &command.QuietError{Err: err}
}

// stop stops the container gracefully. If the daemon hangs or goes away meanwhile, it does
// so without the daemon, by the container's first process; p is nil when that cannot be
// seen from here.
func (r *runner) stop(ctx context.Context, id string, p *process.Process) error {
	seconds := r.o.stopTimeout.seconds()
	limit := time.Duration(seconds) * time.Second
	longest := limit + *r.o.patience
	// Not just so long: what then follows has to ask for more in time.
	r.w.Notify.ExtendTimeout(longest + *r.o.patience)
	begin := time.Now()
	var c container.InspectResponse
	err := r.d.Within(ctx, longest, func(ctx context.Context) error {
		err := r.d.Retry(ctx, func() error {
			return r.d.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
		})
		if err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
		c, err = r.d.Ended(ctx, id)
		return err
	})
	switch {
	case errors.Is(err, docker.ErrGone):
		return &command.SignalError{Signal: unix.SIGTERM}
	case docker.Absent(err) && p != nil:
		return r.stopProcess(ctx, p)
	case err != nil:
		return fmt.Errorf("stop the container: %w", docker.Brief(err))
	}
	asked := parseSignal(c.Config.StopSignal)
	switch ended := signalOf(c.State.ExitCode); {
	case ended == unix.SIGKILL && !c.State.OOMKilled && time.Since(begin) >= limit:
		r.hadToBeKilled(asked, limit)
		return &command.SignalError{Signal: unix.SIGTERM}
	case ended != 0 && (ended == asked || ended == unix.SIGTERM):
		return &command.SignalError{Signal: unix.SIGTERM}
	}
	return r.result(ctx, c)
}

// stopProcess does what stop does to the first process of a container whose daemon hangs,
// or has been stopped and left it running (live-restore). A stop signal that only the image
// names is not known without the daemon.
func (r *runner) stopProcess(ctx context.Context, p *process.Process) error {
	limit := time.Duration(r.o.stopTimeout.seconds()) * time.Second
	r.w.Notify.ExtendTimeout(limit + *r.o.patience)
	signal := parseSignal(r.o.stopSignal)
	if err := p.Signal(signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the container's process: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if p.Wait(limited) != nil {
		r.hadToBeKilled(signal, limit)
		if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill the container's process: %w", err)
		}
		limited, cancel := context.WithTimeout(ctx, *r.o.patience)
		defer cancel()
		if err := p.Wait(limited); err != nil {
			return fmt.Errorf("the container's process does not end: %w", err)
		}
	}
	return &command.SignalError{Signal: unix.SIGTERM}
}

func (r *runner) hadToBeKilled(signal syscall.Signal, limit time.Duration) {
	r.w.Warning("%s: had to be killed: still running %s after %s", r.o.name, limit, unix.SignalName(signal))
}
