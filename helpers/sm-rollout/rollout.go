package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/overview"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/systemd"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// systemdConn is what a rollout needs of systemd.
type systemdConn interface {
	overview.Systemd
	Restarts(ctx context.Context, unit string) (int, error)
	RestartsByItself(ctx context.Context, unit string) (bool, error)
	Activity(ctx context.Context, unit string) (systemd.Activity, error)
	Uptime() time.Duration
	Exits(ctx context.Context, unit string) ([]systemd.Exit, error)
	Start(ctx context.Context, unit string) (bool, error)
	Restart(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	ResetFailed(ctx context.Context, unit string) error
	ControlPID(ctx context.Context, unit string) (int, error)
	StartAgain(ctx context.Context, unit string) error
	StartAndWait(ctx context.Context, unit string) error
	TryRestartAndWait(ctx context.Context, unit string) error
	StopUnits(ctx context.Context, names []string, mode string, progress func(stopping []string)) error
	ReloadContext(ctx context.Context) error
	Result(ctx context.Context, unit string) (string, error)
	StopRunners(ctx context.Context, service name.Service, stays func(name.Rev) bool, progress func(stopping []string)) error
	io.Closer
}

func connect(ctx context.Context) (systemdConn, error) { return systemd.Connect(ctx) }

// rollout decides about revisions.
type rollout struct {
	w       command.World
	store   revision.Store
	connect func(context.Context) (systemdConn, error)
	lives   func(running.Container) (bool, error)
	starts  int // how many runners may start at once
}

// look returns a service as it is now.
func (r rollout) look(ctx context.Context, conn systemdConn, service name.Service) (scene, error) {
	s, err := overview.Look(ctx, r.store, conn, service)
	return scene{s}, err
}

// lock takes the lock of a service, and reports a wait that takes long.
func (r rollout) lock(ctx context.Context, service name.Service) (unlock func(), err error) {
	return r.store.Lock(ctx, service, func(holder string) {
		r.w.Notify.Status("waiting for the lock on the revisions of %s, which %s holds", service, holder)
	})
}

// ask connects to systemd for f, again when systemd has left meanwhile. The error of a
// connection begins with what follows from it.
func (r rollout) ask(ctx context.Context, consequence string, f func(systemdConn) error) error {
	return systemd.Patiently(ctx, func() error {
		conn, err := r.connect(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", consequence, err)
		}
		defer conn.Close()
		return f(conn)
	})
}

// sleep waits, and reports whether the context has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// reporter writes what a long wait is about to the unit's status when it has changed, and
// then to the journal, too, at most once a minute.
type reporter struct {
	w      command.World
	status string
	last   string
	when   time.Time
}

const reportEvery = time.Minute

func (p *reporter) report(now time.Time, text string) {
	if text != p.status {
		p.status = text
		p.w.Notify.Status("%s", text)
	}
	if text != p.last && now.Sub(p.when) >= reportEvery {
		p.last, p.when = text, now
		fmt.Fprintln(p.w.Stdout, text)
	}
}
