package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// pace is how often in a row a runner has failed, and when it last did.
type pace struct {
	failures int
	last     time.Time
}

// pause returns how long a runner waits after its last failure: from a second
// to a minute, twice as long each time.
func (p pace) pause() time.Duration {
	if p.failures == 0 {
		return 0
	}
	return min(firstPause<<min(p.failures-1, 10), lastPause)
}

// next returns when the runner may start again.
func (p pace) next() time.Time { return p.last.Add(p.pause()) }

func (r rollout) pacePath(runner name.Runner) string {
	return filepath.Join(r.store.Run, string(runner.Service), runner.Mark()+".pace")
}

// pace returns the pace of a runner. If that cannot be read, or is in the future because
// the clock was set back, the runner counts as one that has not failed.
func (r rollout) pace(runner name.Runner) pace {
	text, err := os.ReadFile(r.pacePath(runner))
	if err != nil {
		return pace{}
	}
	var p pace
	var last int64
	if n, _ := fmt.Sscanf(string(text), "%d %d\n", &p.failures, &last); n != 2 || p.failures < 0 {
		return pace{}
	}
	p.last = time.Unix(0, last)
	if p.last.After(time.Now()) {
		p.last = time.Time{}
	}
	return p
}

// countFailure records one more failure in a row of a runner that has served for that
// long. One that served for longer than any pause starts from the beginning.
func (r rollout) countFailure(runner name.Runner, served time.Duration) error {
	p := r.pace(runner)
	if served >= lastPause {
		p = pace{}
	}
	path := r.pacePath(runner)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%s: count the failure: %w", runner, err)
	}
	text := fmt.Sprintf("%d %d\n", p.failures+1, time.Now().UnixNano())
	if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("%s: count the failure: %w", runner, err)
	}
	return nil
}

// forgetPace forgets the failures of a runner. If that fails, there is one pause too
// many.
func (r rollout) forgetPace(runner name.Runner) { _ = os.Remove(r.pacePath(runner)) }
