package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/process"
	"service-manager/helpers/internal/running"
)

func runContainer(ctx context.Context, w command.World) error {
	o, err := parseOptions(w)
	if err != nil {
		return err
	}
	config, host, err := o.container(w.Env)
	if err != nil {
		return err
	}
	r := &runner{w: w, o: o}
	if id, p, ok, err := taken(w.Env); ok {
		if err != nil {
			return about(o.name, err)
		}
		defer p.Close()
		debug.FreeOSMemory()
		return r.end(ctx, id, p, p.Wait(ctx))
	}
	// Not in the process that only waits: it needs none of this any more.
	if config.Env, err = environment(o.environmentFrom, config.Env); err != nil {
		return about(o.name, err)
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, stopSignals...)
	defer signal.Stop(caught)
	if r.d, err = docker.Connect(ctx, w.Notify, *o.patience); err != nil {
		return r.unstarted(ctx, err)
	}
	defer r.d.Close()
	c, err := r.start(ctx, config, host)
	if err != nil {
		return r.unstarted(ctx, err)
	}
	return r.follow(ctx, c, caught)
}

// runner is one run of a container.
type runner struct {
	w command.World
	o *options
	d *docker.Daemon
}

// leftError says that a start failed and left its container behind.
type leftError struct{ start, remove error }

func (e *leftError) Error() string { return fmt.Sprintf("%v, and then: %v", e.start, e.remove) }

// Unwrap returns why the container is left: that must be reported, however the start ended.
func (e *leftError) Unwrap() error { return e.remove }

// start creates and starts a container, replacing any older one of its name. When it
// fails, no container is left, unless the error is a leftError, or the daemon hangs. Only the
// parts that create nothing end at once with ctx: the daemon may still carry out a request
// that is cut off.
func (r *runner) start(ctx context.Context, config *container.Config, host *container.HostConfig) (c container.InspectResponse, err error) {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return c, fmt.Errorf("find the slice of this process: %w", err)
	}
	if docker.OfUser(string(cgroup)) {
		// sweep asks the system's service manager, which does not know the unit.
		delete(config.Labels, unitLabel)
	}
	if host.CgroupParent == "" {
		if host.CgroupParent, err = r.slice(ctx, string(cgroup)); err != nil {
			return c, err
		}
	}
	if err := ensureImage(ctx, r.w, r.d, r.o.image, string(*r.o.pull), stall); err != nil {
		return c, err
	}
	if err := ctx.Err(); err != nil {
		return c, err
	}
	whole, cancel := outlasting(ctx, *r.o.patience)
	defer cancel()
	defer func() {
		if err != nil && whole.Err() != nil {
			err = hint.Add(&command.HostError{Err: fmt.Errorf("stopped while it was starting, and the Docker daemon has not answered within %s; it may still make the container", *r.o.patience)},
				"run systemctl status %s", docker.Unit)
		}
	}()
	r.w.Notify.Status("starting")
	id, err := r.create(whole, config, host)
	if err != nil {
		return c, err
	}
	defer func() {
		if err == nil || whole.Err() != nil {
			return
		}
		if removeErr := r.d.Remove(whole, id); removeErr != nil {
			err = &leftError{err, removeErr}
		}
	}()
	if err := ctx.Err(); err != nil {
		return c, err
	}
	err = r.d.Retry(whole, func() error { return r.d.ContainerStart(whole, id, container.StartOptions{}) })
	if err != nil {
		return c, fmt.Errorf("start the container: %w", docker.Brief(err))
	}
	return r.d.Inspect(whole, id)
}

// outlasting returns a context that ends patience after ctx does, so that what the daemon may
// carry out anyway is waited for, and a daemon that hangs is not.
func outlasting(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-whole.Done():
		case <-time.After(patience):
			cancel()
		}
	})
	return whole, func() { stop(); cancel() }
}

// slice returns the slice of that control group, so that the container gets into it, too.
// Only with the systemd driver can Docker put a container there.
func (r *runner) slice(ctx context.Context, cgroup string) (string, error) {
	slice := docker.Slice(cgroup)
	if slice == "" {
		return "", nil
	}
	var driver string
	err := r.d.Retry(ctx, func() error {
		return r.d.Within(ctx, *r.o.patience, func(ctx context.Context) error {
			info, err := r.d.Info(ctx)
			driver = info.CgroupDriver
			return err
		})
	})
	if err != nil {
		return "", fmt.Errorf("ask Docker for its cgroup driver: %w", err)
	}
	if driver != "systemd" {
		return "", nil
	}
	return slice, nil
}

// create creates the container, after removing one that has its name.
func (r *runner) create(ctx context.Context, config *container.Config, host *container.HostConfig) (string, error) {
	for attempt := 1; ; attempt++ {
		var created container.CreateResponse
		err := r.d.Retry(ctx, func() (err error) {
			created, err = r.d.ContainerCreate(ctx, config, host, nil, nil, r.o.name)
			return err
		})
		if err == nil {
			for _, warning := range created.Warnings {
				r.w.Warning("%s: docker says: %s", r.o.name, warning)
			}
			return created.ID, nil
		}
		if attempt > 3 || !cerrdefs.IsConflict(err) || !strings.Contains(err.Error(), "is already in use by container") {
			return "", fmt.Errorf("create the container: %w", docker.Brief(err))
		}
		removed, err := r.d.RemoveNamed(ctx, r.o.name)
		if err != nil {
			return "", err
		}
		if removed {
			fmt.Fprintf(r.w.Stderr, "%s: removed the container that an earlier run has left\n", r.o.name)
		}
	}
}

// follow reports that the container runs, waits for its end, and returns the error that
// makes this process end in the same way.
func (r *runner) follow(ctx context.Context, c container.InspectResponse, caught chan os.Signal) error {
	// Opened before the record is written: a process that has ended must not get that
	// far.
	p, err := r.d.Process(c)
	if err == nil {
		defer p.Close()
	} else if c, err = r.d.Inspect(context.WithoutCancel(ctx), c.ID); err != nil {
		return about(r.o.name, err)
	}
	if c.State.Running {
		ip4, ip6 := docker.Addresses(c)
		err := r.noteProcess(c, p)
		if err == nil {
			err = (record{r.o.name, c.ID, ip4, ip6}).write(r.o.record)
		}
		if err != nil {
			return about(r.o.name, errors.Join(err, r.d.Remove(context.WithoutCancel(ctx), c.ID)))
		}
		r.w.Notify.Status("running%s", list(ip4, ip6))
		r.w.Notify.Ready()
	}
	return r.wait(ctx, c.ID, p, caught)
}

// noteProcess notes a container with a run record for the program that watches over
// containers, unless its process cannot be seen from here, or it is a user's.
func (r *runner) noteProcess(c container.InspectResponse, p *process.Process) error {
	if p == nil || r.o.record == "" || os.Geteuid() != 0 {
		return nil
	}
	return running.Host.Note(running.Container{ID: c.ID, Name: r.o.name, Unit: r.o.unit, PID: c.State.Pid})
}

// wait waits for the end of a container with that first process, which is nil when it
// cannot be seen from here, or is gone already.
func (r *runner) wait(ctx context.Context, id string, p *process.Process, caught chan os.Signal) error {
	if p == nil {
		_, err := r.d.Ended(ctx, id)
		return r.end(ctx, id, nil, err)
	}
	// Without it the wait just takes more memory.
	_ = handoff(ctx, id, p, caught)
	return r.end(ctx, id, p, p.Wait(ctx))
}

// end handles the end of the wait for a container with that first process, if it can be
// seen from here: it has ended, or is to be stopped because ctx has ended.
func (r *runner) end(ctx context.Context, id string, p *process.Process, waited error) error {
	whole := context.WithoutCancel(ctx)
	if waited != nil && ctx.Err() == nil {
		return about(r.o.name, waited)
	}
	d, err := docker.ConnectToEnd(whole, r.w.Notify, *r.o.patience)
	switch {
	case err != nil && ctx.Err() != nil && p != nil:
		// Docker may have been stopped and have left it running (live-restore), or hang.
		return about(r.o.name, asTold(r.stopProcess(whole, p)))
	case err != nil && ctx.Err() == nil:
		return about(r.o.name, fmt.Errorf("its process has ended, and %w", err))
	case err != nil:
		return about(r.o.name, err)
	}
	defer d.Close()
	r.d = d
	if ctx.Err() != nil {
		return about(r.o.name, asTold(r.stop(whole, id, p)))
	}
	// Its process has ended, so the daemon should soon know how. A unit whose container
	// is dead must not stay up for a daemon that does not.
	limited, cancel := context.WithTimeout(ctx, *r.o.patience)
	defer cancel()
	c, err := r.d.Left(limited, id, p != nil)
	if err == nil {
		if again, ok := r.d.Restarted(ctx, c); ok {
			return r.takeOver(ctx, again)
		}
	}
	switch {
	case err == nil:
		err = r.result(whole, c)
	case ctx.Err() != nil:
		err = asTold(r.stop(whole, id, p))
	case limited.Err() != nil:
		err = hint.Add(fmt.Errorf("its process has ended, and the Docker daemon did not say how within %s", *r.o.patience), "run docker inspect %s", r.o.name)
	}
	return about(r.o.name, err)
}

// list returns the words that are not empty, each after a comma.
func list(words ...string) string {
	var b strings.Builder
	for _, word := range words {
		if word != "" {
			b.WriteString(", " + word)
		}
	}
	return b.String()
}

// result returns the error that a container's last state stands for, nil for
// success. What the container said last is the best reason there is.
func (r *runner) result(ctx context.Context, c container.InspectResponse) error {
	if c.State.ExitCode == 0 {
		return nil
	}
	// Without its last words, or if they do not come, a container's end is still worth
	// reporting.
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	output, _ := r.d.LastLines(limited, c, 10)
	if !r.o.inJournal() {
		for _, line := range output {
			fmt.Fprintf(r.w.Stderr, "%s: | %s\n", r.o.name, line.Text)
		}
	}
	err := errors.New(ending(*c.State))
	if line := output.LastWords(); line != "" {
		// What a container says may be a secret.
		err = &command.DetailedError{Err: err, Detail: strconv.Quote(shorten(line, 200))}
	}
	return &command.ExitError{Code: exitStatus(c.State.ExitCode), Err: err}
}
