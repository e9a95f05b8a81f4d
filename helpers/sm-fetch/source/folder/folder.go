// Package folder follows a folder of service definitions, one JSON file for each
// service, that people and programs edit in any way they like.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"service-manager/helpers/internal/watch"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
)

// Store is a folder. One goroutine follows it.
type Store struct {
	path string
	// Report is told once about each file that cannot be a definition.
	report func(problem string)
	times  Times
	scan   *scanner
}

var _ source.Store = (*Store)(nil)

// Times say how patient a Store is.
type Times struct {
	// Quiet is how long nothing may have changed before files are read.
	Quiet time.Duration
	// Settle is how long a file that ends too early must have stayed the same
	// before that is taken for what its writer meant.
	Settle time.Duration
	// Absent is how long a file must be gone before that counts as a removal: some
	// editors move the old file away before they write the new one.
	Absent time.Duration
	// Look is how often to look although nothing seems to have changed: links in the middle
	// of the way to a file, and files that another host changes, are not watched.
	Look time.Duration
	// Blind is how often to look while changes cannot be watched.
	Blind time.Duration
}

// burst is how long files wait at most for a time without changes.
func (t Times) burst() time.Duration { return 40 * t.Quiet }

// again is how often files that have yet to settle are read.
func (t Times) again() time.Duration { return 4 * t.Quiet }

// patience is how long a Pass waits at most for files to settle.
func (t Times) patience() time.Duration { return 2 * (t.Settle + t.Absent) }

// DefaultTimes suit people and their editors.
var DefaultTimes = Times{Quiet: 5 * time.Millisecond, Settle: 2 * time.Second, Absent: time.Second, Look: time.Minute, Blind: time.Second}

// Open returns the folder at path, which need not exist.
func Open(path string, times Times, report func(problem string)) *Store {
	return &Store{path: path, report: report, times: times, scan: newScanner(path, times, report)}
}

// Name returns the path of the folder.
func (s *Store) Name() string { return s.path }

// Pass delivers every definition in the folder, and the deletion of those that it no
// longer has. A position in a folder only identifies it.
func (s *Store) Pass(ctx context.Context, from source.Position, had []name.Service, handle func(source.Change) error) (source.Snapshot, error) {
	s.scan.forget()
	var end time.Time
	for {
		first := !s.scan.exists()
		found, err := s.scan.look(time.Now())
		switch {
		case errors.Is(err, errNoFolder):
			return source.Snapshot{Waiting: true}, nil
		case errors.Is(err, source.ErrAgain):
			s.scan.forget()
			continue
		case err != nil:
			return source.Snapshot{}, err
		}
		isNew := replaced(from.Instance, s.scan.instance)
		if first {
			if !isNew && s.scan.expect(had, time.Now()) {
				found.unsettled = true
			}
			end = time.Now().Add(s.times.patience())
		}
		for _, change := range found.changes {
			if err := handle(change); err != nil {
				return source.Snapshot{}, err
			}
		}
		// A file that is being written for ever is left to Watch.
		if !found.unsettled || time.Now().After(end) {
			return source.Snapshot{Position: source.Position{Instance: s.scan.instance}, New: isNew, Present: s.scan.present()}, nil
		}
		select {
		case <-ctx.Done():
			return source.Snapshot{}, context.Cause(ctx)
		case <-time.After(s.times.again()):
		}
	}
}

// Get returns what is in the file of a service.
func (s *Store) Get(_ context.Context, service name.Service) (source.Change, error) {
	path := filepath.Join(s.path, string(service)+suffix)
	document, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return source.Change{Service: service, Deleted: true}, nil
	}
	if err != nil {
		return source.Change{}, fmt.Errorf("%s: %s cannot be read: %w", service, path, err)
	}
	return source.Change{Service: service, Document: document}, nil
}

// Watch delivers what changes in the folder after the last Pass.
func (s *Store) Watch(ctx context.Context, from source.Position, handle func(source.Change, source.Position) error) error {
	watcher := watch.New(func(err error) { s.scan.once("", err.Error()) })
	defer watcher.Close()
	existed := s.scan.exists()
	for {
		linked := s.scan.linked
		if err := watcher.Sync(append([]string{s.path}, linked...)); err != nil {
			return err
		}
		found, err := s.scan.look(time.Now())
		if errors.Is(err, errNoFolder) {
			existed = false
		} else if err != nil {
			return err
		} else if !existed {
			return source.ErrAgain
		}
		for _, change := range found.changes {
			if err := handle(change, from); err != nil {
				return err
			}
		}
		if !slices.Equal(linked, s.scan.linked) {
			continue
		}
		var again <-chan time.Time
		if found.unsettled {
			again = time.After(s.times.again())
		} else if watcher.Blind() {
			again = time.After(s.times.Blind)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again:
		case <-time.After(s.times.Look):
		case <-watcher.Changed():
			if err := s.quiet(ctx, watcher); err != nil {
				return err
			}
		}
	}
}

// quiet waits until nothing has changed for a while, but not for ever.
func (s *Store) quiet(ctx context.Context, watcher *watch.Watcher) error {
	end := time.After(s.times.burst())
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end:
			return nil
		case <-time.After(s.times.Quiet):
			return nil
		case <-watcher.Changed():
		}
	}
}
