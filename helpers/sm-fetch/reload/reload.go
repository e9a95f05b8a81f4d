// Package reload reloads systemd when, and only when, the units on disk differ from
// those that it has loaded.
//
// The generator's last output lies in a folder; what it would write now can be
// computed, because it is a pure function. Comparing both says whether a reload
// is needed, however it came about, and whether it has helped.
package reload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/recurring"
	"service-manager/helpers/internal/watch"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/units"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// Reloader compares and reloads. Fields are set before use.
type Reloader struct {
	// Wanted returns the files that the generator would write now. Its error names
	// what was left out of them.
	Wanted func() ([]units.File, error)
	// Generated is the folder with what the generator wrote last.
	Generated string
	// Reload reloads systemd, which runs the generator.
	Reload func(context.Context) error
	// Roots are folders with a folder for each service; what is in those decides what is
	// wanted.
	Roots []string
	Log   apply.Log
	Times Times

	mu      sync.Mutex
	trouble recurring.Problem
}

// Times say how changes are gathered into one reload.
type Times struct {
	Quiet time.Duration // without a change
	Burst time.Duration // at most, for any change
	Retry time.Duration // before a reload that failed is tried again
	Later time.Duration // before one that did not help is, and between comparisons while nothing changes
	Look  time.Duration // between comparisons while changes cannot be watched
}

// DefaultTimes suit a real host, where a reload holds up everything for a moment.
var DefaultTimes = Times{Quiet: 10 * time.Millisecond, Burst: time.Second, Retry: 5 * time.Second, Later: time.Minute, Look: 3 * time.Second}

// Now reloads if that is needed. The error says that the reload failed or that it
// did not help.
func (r *Reloader) Now(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before []units.File
	for reloaded := false; ; reloaded = true {
		// The generator leaves out the same files, and reports them.
		wanted, _ := r.Wanted()
		file, err := r.differs(wanted)
		if err != nil || file == "" {
			return err
		}
		if reloaded && slices.EqualFunc(wanted, before, sameFile) {
			return hint.Add(fmt.Errorf("systemd has reloaded and %s is not what the generator would write", file),
				"see journalctl -k -g service-manager-generator, and run service-manager-generator --dry-run")
		}
		// After a reload, the wanted files are different only if there were changes
		// meanwhile.
		before = wanted
		if err := r.Reload(ctx); err != nil {
			return &failedError{fmt.Errorf("reload systemd's units: %w", err)}
		}
	}
}

func sameFile(a, b units.File) bool {
	return a.Path == b.Path && a.Target == b.Target && bytes.Equal(a.Content, b.Content)
}

// failedError is a reload that did not happen, and may the next time.
type failedError struct{ error }

// differs returns a file that the generator has to write or remove, the empty
// string when there is none.
func (r *Reloader) differs(wanted []units.File) (string, error) {
	paths := make(map[string]bool, len(wanted))
	for _, file := range wanted {
		paths[file.Path] = true
		path := filepath.Join(r.Generated, file.Path)
		if !equal(path, file) {
			return path, nil
		}
	}
	entries, err := os.ReadDir(r.Generated)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("compare the units: %w", err)
	}
	for _, entry := range entries {
		// The runner of a retired revision may stay until the next reload.
		unit := entry.Name()
		if !name.IsManager(unit) || paths[unit] {
			continue
		}
		path := filepath.Join(r.Generated, unit)
		if content, err := os.ReadFile(path); err == nil && bytes.HasPrefix(content, []byte(units.Header+"\n")) {
			return path, nil
		}
	}
	return "", nil
}

func equal(path string, file units.File) bool {
	if file.Target != "" {
		target, err := os.Readlink(path)
		return err == nil && target == file.Target
	}
	content, err := os.ReadFile(path)
	return err == nil && bytes.Equal(content, file.Content)
}

// Run reloads whenever that is needed, until the context ends.
func (r *Reloader) Run(ctx context.Context) error {
	watcher := watch.New(func(err error) { r.Log.Warning("%v", err) }, revision.ScalePrefix)
	defer watcher.Close()
	for {
		if err := r.watch(watcher); err != nil {
			return err
		}
		var retry <-chan time.Time
		err := r.Now(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.report(err)
		var failed *failedError
		switch {
		case errors.As(err, &failed):
			retry = time.After(r.Times.Retry)
		case err != nil:
			retry = time.After(r.Times.Later)
		case watcher.Blind(): // a reload that did not help is not repeated so soon
			retry = time.After(r.Times.Look)
		default:
			// In a reload that another program has asked for, the generator may have failed.
			retry = time.After(r.Times.Later)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-watcher.Changed():
			if !r.quiet(ctx, watcher.Changed(), time.After) {
				return nil
			}
		}
	}
}

// report reports a problem that is news, and its end.
func (r *Reloader) report(err error) {
	if err == nil {
		if after := r.trouble.Gone(); after != "" {
			r.Log.Info("systemd has the units of all services again, after %s", after)
		}
	} else if r.trouble.News(err.Error()) {
		r.Log.Error("%v", err)
	}
}

// watch watches everything. A folder that is made between the listing and the watch of
// its parent goes unnoticed, so this lists again.
func (r *Reloader) watch(watcher *watch.Watcher) error {
	for folders := r.folders(); ; {
		if err := watcher.Sync(folders); err != nil {
			return err
		}
		now := r.folders()
		if slices.Equal(now, folders) {
			return nil
		}
		folders = now
	}
}

// folders returns everything that has to be watched.
func (r *Reloader) folders() []string {
	folders := slices.Clone(r.Roots)
	for _, root := range r.Roots {
		entries, _ := os.ReadDir(root) // it may come later
		for _, entry := range entries {
			if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
				folders = append(folders, filepath.Join(root, entry.Name()))
			}
		}
	}
	return folders
}

// quiet waits for the end of a burst of changes, and reports whether to continue after
// that.
func (r *Reloader) quiet(ctx context.Context, changed <-chan struct{}, after func(time.Duration) <-chan time.Time) bool {
	end := after(r.Times.Burst)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return true
		case <-after(r.Times.Quiet):
			return true
		case <-changed:
		}
	}
}
