package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/units/name"
)

// wait is the first step of a runner's start. It waits for the end of a pause
// after failures, for Docker, for a runner that must be alone, and for a turn.
func (r rollout) wait(ctx context.Context, runner name.Runner) error {
	if _, err := r.stopped(runner).clear(); err != nil {
		return err
	}
	extending, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.keepExtending(extending)
	// A short wait is not worth a line in the journal.
	reporter := reporter{w: r.w, when: time.Now().Add(quiet - reportEvery)}
	w := waiting{r, runner, r.turns(), false}
	for began := time.Now(); ; {
		what, err := w.turn(ctx, time.Since(began))
		if ctx.Err() != nil {
			return &command.SignalError{Signal: unix.SIGTERM}
		}
		if err != nil {
			return err
		}
		if what == "" {
			return nil
		}
		reporter.report(time.Now(), fmt.Sprintf("%s: waiting %s", runner, what))
		pause := 300 * time.Millisecond
		if time.Since(began) > quiet {
			pause = time.Second
		}
		if !sleep(ctx, pause) {
			return &command.SignalError{Signal: unix.SIGTERM}
		}
	}
}

// quiet is how long a runner waits before the journal says so.
const quiet = 10 * time.Second

// waiting is a runner that waits for its turn.
type waiting struct {
	rollout
	runner     name.Runner
	turns      *turns
	obstructed bool // it could have had a turn
}

// turn takes a turn, and returns what a start that has waited for that long has to wait
// for instead, empty when it has its turn. Many may wait: only one that has a turn, or had
// to give it back, asks systemd for what is in its way.
func (w *waiting) turn(ctx context.Context, waited time.Duration) (string, error) {
	if p := w.pace(w.runner); time.Now().Before(p.next()) {
		failures := "a failure"
		if p.failures > 1 {
			failures = fmt.Sprintf("%d failures in a row", p.failures)
		}
		return fmt.Sprintf("until %s, after %s", p.next().Format(time.TimeOnly), failures), nil
	}
	if w.obstructed {
		if what, err := w.obstacle(ctx, w.runner, waited); err != nil || what != "" {
			return what, err
		}
	}
	unit := w.runner.Unit()
	taken, err := w.turns.take(unit, func(units []string) ([]string, error) { return w.notStarting(ctx, w.runner, units) })
	if err != nil {
		return "", err
	}
	if !taken {
		return fmt.Sprintf("for its turn: no more than %d start at once (PARALLEL_STARTS=)", w.turns.limit), nil
	}
	what, err := w.obstacle(ctx, w.runner, waited)
	if w.obstructed = what != ""; err != nil || w.obstructed {
		w.turns.release(unit)
	}
	return what, err
}

// obstacle returns what is in the way of a start that has waited for that long, empty when
// nothing is.
func (r rollout) obstacle(ctx context.Context, runner name.Runner, waited time.Duration) (string, error) {
	state, err := r.docker(ctx, runner)
	if err != nil {
		return "", err
	}
	if state != "active" {
		return fmt.Sprintf("for %s, which is %s", dockerUnit, state), nil
	}
	return r.otherRunner(ctx, runner.Revision, waited)
}

// docker returns the state of Docker's unit. Asking Docker itself would start it, through
// its socket. Where there is no such unit, Docker is somewhere else.
func (r rollout) docker(ctx context.Context, runner name.Runner) (state string, err error) {
	if r.w.Getenv("DOCKER_HOST") != "" {
		return "active", nil
	}
	err = r.ask(ctx, fmt.Sprintf("%s: not started", runner), func(conn systemdConn) error {
		docker, err := conn.State(ctx, dockerUnit)
		state = docker.ActiveState
		if docker.LoadState != "loaded" || state == "reloading" {
			state = "active"
		}
		return err
	})
	return state, err
}

// notStarting returns those of the units that are not in their start, or are in a pause
// before it.
func (r rollout) notStarting(ctx context.Context, runner name.Runner, units []string) (stale []string, err error) {
	err = r.ask(ctx, fmt.Sprintf("%s: not started", runner), func(conn systemdConn) error {
		stale = nil
		for _, unit := range units {
			state, err := conn.State(ctx, unit)
			if err != nil {
				return err
			}
			starting := state.ActiveState == "activating" && (state.SubState == "start-pre" || state.SubState == "start" || state.SubState == "start-post")
			if !starting {
				stale = append(stale, unit)
			}
		}
		return nil
	})
	return stale, err
}

// pauses after failures double from the first to the last.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// parallelStarts reads how many runners may start at once.
func parallelStarts(setting string, processors int) (int, error) {
	if setting == "" {
		return 4 * processors, nil
	}
	n, err := strconv.Atoi(setting)
	if err != nil || n < 1 {
		return 4 * processors, fmt.Errorf("PARALLEL_STARTS: must be a number of at least 1 (got %q)", setting)
	}
	return n, nil
}
