package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"service-manager/units/name"
)

// A runner that must not run beside another one of its service has a file, from before it
// stops the others until it has ended itself. A runner that is started while another has
// such a file waits, unless its revision is the current one, which stops the other. A
// runner that is past this check is stopped: it was there when the other looked.

func (r rollout) alone(revision name.Revision) mark {
	return mark{filepath.Join(r.store.Run, string(revision.Service), string(revision.Rev)+".alone"), revision, "runs alone"}
}

// otherRunner returns which other runner of its service a start has to wait for, after
// having waited for that long; empty when it need not wait.
func (r rollout) otherRunner(ctx context.Context, revision name.Revision, waited time.Duration) (what string, err error) {
	// systemd is asked only if one of them must run alone: many may wait at once.
	current, err := r.store.Current(revision.Service)
	if err != nil {
		return "", err
	}
	d, err := r.store.Read(revision)
	if err != nil && revision.Rev == current {
		return "", err
	}
	stopsFirst := err == nil && d.StopsFirst() // the unit of a good one may still be loaded when its file is damaged
	if !stopsFirst {
		if files, _ := filepath.Glob(r.alone(revision.Service.Revision("*")).path); revision.Rev == current || len(files) == 0 {
			return "", nil
		}
	}
	err = r.ask(ctx, fmt.Sprintf("%s: not started", revision), func(conn systemdConn) error {
		if stopsFirst {
			left, err := r.leftBehind(ctx, conn, revision.First())
			if err != nil {
				return err
			}
			if left != "" {
				what = fmt.Sprintf("for the end of container %s, whose unit has stopped: run docker rm -f %[1]s", left)
				return nil
			}
		}
		s, err := r.look(ctx, conn, revision.Service)
		if err != nil {
			return err
		}
		if revision.Rev == current {
			if s.awaitsGood(revision.Rev, waited) {
				what = fmt.Sprintf("for %s, which is about to serve", s.unit(s.Good))
			}
			return nil
		}
		other, err := r.otherAlone(s, revision)
		if other != "" {
			what = fmt.Sprintf("for the end of %s, which runs alone", other)
		}
		return err
	})
	return what, err
}

// otherAlone returns the runner that has replaced all others of a service, including the
// given revision; empty when none has.
func (r rollout) otherAlone(s scene, revision name.Revision) (unit string, err error) {
	for _, other := range s.Runners {
		if other.Rev == revision.Rev || !other.Live() {
			continue
		}
		if alone, err := r.alone(other.Revision).isSet(); err != nil || alone {
			return other.Unit.Name, err
		}
	}
	return "", nil
}
