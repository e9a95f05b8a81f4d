package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"service-manager/units/name"
)

// A runner that must not run beside another one of its service has a file from before
// the others are stopped until it has ended itself. One that is started while another has
// such a file waits, unless its revision is the current one, which stops that. One that
// has got past that is stopped: it was there when the other looked.

const aloneSuffix = ".alone"

func (r rollout) alonePath(revision name.Revision) string {
	return filepath.Join(r.store.Run, string(revision.Service), string(revision.Rev)+aloneSuffix)
}

func (r rollout) isAlone(revision name.Revision) (bool, error) {
	_, err := os.Stat(r.alonePath(revision))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r rollout) setAlone(revision name.Revision) error {
	path := r.alonePath(revision)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%s: note that it runs alone: %w", revision, err)
	}
	return nil
}

func (r rollout) clearAlone(revision name.Revision) error {
	if err := os.Remove(r.alonePath(revision)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: note that it has ended: %w", revision, err)
	}
	return nil
}

// otherRunner returns for what of another runner of its service a start has to wait that
// has waited for that long; empty when it need not.
func (r rollout) otherRunner(ctx context.Context, revision name.Revision, waited time.Duration) (what string, err error) {
	// systemd is asked only when need be: many may wait for their turn at once.
	current, err := r.store.Current(revision.Service)
	if err != nil {
		return "", err
	}
	if revision.Rev != current {
		if files, _ := filepath.Glob(r.alonePath(revision.Service.Revision("*"))); len(files) == 0 {
			return "", nil
		}
	} else if d, err := r.store.Read(revision); err != nil || !d.StopsFirst() {
		return "", err
	}
	err = r.ask(ctx, fmt.Sprintf("%s: not started", revision), func(conn systemdConn) error {
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

// otherAlone returns the runner that has taken the place of all others of a service, a
// given revision among them; empty when none has.
func (r rollout) otherAlone(s scene, revision name.Revision) (unit string, err error) {
	for _, other := range s.Runners {
		if other.Rev == revision.Rev || !other.Live() {
			continue
		}
		if alone, err := r.isAlone(other.Revision); err != nil || alone {
			return other.Unit.Name, err
		}
	}
	return "", nil
}
