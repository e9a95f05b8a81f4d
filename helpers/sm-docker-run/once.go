package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/hint"
	"service-manager/units/filelock"
	"service-manager/units/revision/atomicfile"
)

const onceHelp = `
Usage: sm-docker-run once [flags] --name NAME --done FILE IMAGE [ARGUMENT...]

Runs a container to its end, replacing any older one of that name, and removes it:
for what has to be done once, such as a migration of a database. If it ends with exit
status 0, FILE is written. If FILE exists, nothing is done. On SIGTERM or SIGINT, and when
the time is up, the container is stopped, and that is a failure.

Example:
  ExecStartPre=/usr/local/bin/sm-docker-run once --unit %n --name migrate --done /var/lib/web/migrated shop:2 migrate
`

// onceOptions is what the command line of once says.
type onceOptions struct {
	*options
	done    string
	timeout *time.Duration
}

func parseOnce(w command.World) (onceOptions, error) {
	o := onceOptions{options: newOptions()}
	f := command.NewFlags("once", onceHelp)
	f.StringVar(&o.done, "done", "", "`file` that is written when it is done (required)")
	o.timeout = f.Duration("timeout", 5*time.Minute, "stop the container when it has not ended after that `duration`, which is a failure")
	o.define(f)
	if err := o.read(f, w); err != nil {
		return o, err
	}
	switch {
	case o.done == "":
		return o, command.Usagef("--done is missing: the file that is written when it is done")
	case *o.timeout <= 0:
		return o, command.Usagef("--timeout: must be more than 0 (got %s)", *o.timeout)
	}
	return o, nil
}

func once(ctx context.Context, w command.World) error {
	o, err := parseOnce(w)
	if err != nil {
		return err
	}
	config, host, err := o.container(w.Env)
	if err != nil {
		return err
	}
	if done, err := o.isDone(); err != nil || done {
		return err
	}
	if config.Env, err = environment(o.environmentFrom, config.Env); err != nil {
		return about(o.name, err)
	}
	longest := *o.timeout + time.Duration(o.stopTimeout) + 2**o.patience
	w.Notify.ExtendTimeout(longest)
	r := &runner{w: w, o: o.options}
	// Runners of one revision may come here at the same time.
	waiter := filelock.NewWaiter(func(holder string) { w.Notify.Status("waiting for %s, which runs the same", holder) })
	lock, err := waiter.Open(ctx, o.done+".lock")
	if err != nil {
		return r.unstarted(ctx, err)
	}
	defer lock.Close()
	defer os.Remove(lock.Name())
	if done, err := o.isDone(); err != nil || done {
		return err
	}
	w.Notify.ExtendTimeout(longest)
	config.Labels[onceLabel] = o.done
	if r.d, err = docker.Connect(ctx, w.Notify, *o.patience); err != nil {
		return r.unstarted(ctx, err)
	}
	defer r.d.Close()
	if err := r.removeOrphans(ctx, o.done); err != nil {
		return r.unstarted(ctx, err)
	}
	c, err := r.start(ctx, config, host)
	if err != nil {
		return r.unstarted(ctx, err)
	}
	w.Notify.Status("%s runs once", o.name)
	if err = r.toItsEnd(ctx, c.ID, *o.timeout); err == nil {
		err = atomicfile.Write(o.done, nil, 0o600)
	}
	left := r.d.Remove(context.WithoutCancel(ctx), c.ID)
	if err != nil && left != nil {
		err = &leftError{err, left}
	}
	return about(o.name, cmp.Or(err, left))
}

// onceLabel marks a container that runs once, and names the file that says it has.
const onceLabel = "service-manager.once"

// isDone reports whether it has been done.
func (o onceOptions) isDone() (bool, error) {
	_, err := os.Stat(o.done)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, about(o.name, fmt.Errorf("look whether it was done: %w", err))
	}
	return err == nil, nil
}

// removeOrphans removes containers that do the same and whose sm-docker-run was killed: a
// live one would have the lock.
func (r *runner) removeOrphans(ctx context.Context, done string) error {
	containers, err := r.d.Labelled(ctx, onceLabel+"="+done)
	if err != nil {
		return err
	}
	for _, c := range containers {
		if err := r.d.Remove(ctx, c.ID); err != nil {
			return err
		}
		fmt.Fprintf(r.w.Stderr, "%s: removed container %s, which an earlier run has left\n", r.o.name, docker.NameOf(c))
	}
	return nil
}

// toItsEnd waits until a container has ended, and returns why it has failed if it has.
func (r *runner) toItsEnd(ctx context.Context, id string, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	whole := context.WithoutCancel(ctx)
	c, err := r.d.Ended(limited, id)
	switch {
	case err == nil:
		return failure(r.result(whole, c))
	case ctx.Err() != nil:
		return cmp.Or[error](r.stopped(whole, id), &command.SignalError{Signal: unix.SIGTERM})
	case limited.Err() != nil:
		return cmp.Or(r.stopped(whole, id), hint.Add(fmt.Errorf("did not end within %s", timeout), "see in the journal what it did, or give it more time"))
	}
	return err
}

// stopped stops a container; how it ends then does not matter.
func (r *runner) stopped(ctx context.Context, id string) error {
	err := r.stop(ctx, id, nil)
	if errors.As(err, new(*command.ExitError)) || errors.As(err, new(*command.SignalError)) {
		return nil
	}
	return err
}

// failure returns an error without the exit status of a container, which only means
// something for the container's main program.
func failure(err error) error {
	var exit *command.ExitError
	if errors.As(err, &exit) {
		return exit.Err
	}
	return err
}

// unstarted is the error of a container that could not be started.
func (r *runner) unstarted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.As(err, new(*leftError)) && !errors.As(err, new(*command.HostError)) {
		// A stop in the middle of the start; nothing is left of it.
		return &command.SignalError{Signal: unix.SIGTERM}
	}
	return about(r.o.name, err)
}
