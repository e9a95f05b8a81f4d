package keeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"service-manager/helpers/internal/process"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/sm-healthcheck/probe"
)

// subject is a container that is watched over. The keeper's lock guards what changes.
type subject struct {
	running.Container
	process *process.Process // nil when it had ended already
	probe   probe.Probe      // nil when it is not probed
	release context.CancelFunc

	ended    time.Time // zero while it runs
	answered bool      // whether it has been probed since the watch began
	failures int       // in a row
	since    time.Time // when it became unhealthy; zero while it is not
	settled  bool      // whether it has its connections back since it became healthy
	alone    bool      // whether it was reported that it keeps its connections
	restarts time.Time // when it is restarted if it is still unhealthy; zero: never
}

// leastInterval is the shortest time between probes of a container: they go on for weeks,
// from one process for all containers.
const leastInterval = time.Second

// newSubject opens the process of a container.
func newSubject(c running.Container) (*subject, error) {
	s := &subject{Container: c}
	var err error
	if s.process, err = c.Open(); errors.Is(err, running.ErrEnded) {
		s.ended = time.Now()
		return s, nil
	}
	if err != nil || c.Check == nil {
		return s, err
	}
	header, err := probe.ParseHeaders(c.Check.Headers)
	if err == nil {
		s.probe, err = probe.Parse(c.Check.URL, probe.Options{Header: header, Verify: c.Check.Verify})
	}
	if err != nil {
		return s, fmt.Errorf("%s: ask whether it is healthy: %w", c.Name, err)
	}
	return s, nil
}

// same reports whether a container is as it was at the first look.
func (s *subject) same(c running.Container) bool {
	return s.PID == c.PID && (s.Check == nil) == (c.Check == nil)
}

// health returns what there is to know about it. The keeper's lock must be held.
func (s *subject) health() health {
	switch {
	case !s.ended.IsZero():
		return ended
	case s.Check == nil:
		return fine
	case !s.since.IsZero():
		return failing
	case !s.answered:
		return unproven
	case !s.settled:
		return well
	}
	return fine
}

// note takes in the outcome of a probe, and returns what there is to report, if anything.
// The keeper's lock must be held.
func (s *subject) note(err error, now time.Time) (text string) {
	if err == nil {
		if !s.since.IsZero() {
			text = fmt.Sprintf("%s: healthy again after %s", s.Name, now.Sub(s.since).Round(time.Second))
		}
		s.settled = s.settled && s.since.IsZero()
		s.answered, s.failures, s.since, s.restarts, s.alone = true, 0, time.Time{}, time.Time{}, false
		return text
	}
	s.failures++
	if s.failures < s.Check.Failures || !s.since.IsZero() {
		return ""
	}
	s.answered, s.since = true, now
	if s.Check.RestartAfter > 0 {
		s.restarts = now.Add(s.Check.RestartAfter)
	}
	return fmt.Sprintf("%s: unhealthy: %s: %s (%d in a row)", s.Name, s.probe, err, s.failures)
}

// ask probes until ctx ends.
func (s *subject) ask(ctx context.Context, note func(error)) {
	interval := max(s.Check.Interval, leastInterval)
	// So that not all are probed at once.
	timer := time.NewTimer(rand.N(interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(interval)
		_, err := probe.Once(ctx, s.probe, s.Check.Timeout)
		if ctx.Err() != nil {
			return
		}
		note(err)
	}
}
