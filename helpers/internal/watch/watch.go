// Package watch tells when something changes in a set of folders. A folder need
// not exist yet, may go away, and may be replaced by another one of its name.
package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"

	"service-manager/helpers/internal/hint"
)

// Watcher watches folders. Its user looks at the folders after each Sync: that look sees
// earlier changes, and later ones are reported.
type Watcher struct {
	notify *fsnotify.Watcher // nil as long as the Watcher is blind
	warn   func(error)       // nil once it has been told
	// watched folders, by path, as they were when they were added
	watched map[string]fs.FileInfo
	hidden  []string // the beginnings of names with a dot that count
	changed chan struct{}
}

// New returns a Watcher that watches nothing yet. It passes over names that begin with a
// dot, except those that begin with one of hidden. warn is told, once, when it is blind.
func New(warn func(error), hidden ...string) *Watcher {
	return &Watcher{nil, warn, make(map[string]fs.FileInfo), hidden, make(chan struct{}, 1)}
}

// Instance returns an inotify instance. Tests replace it.
var Instance = fsnotify.NewWatcher

// open gets an inotify instance, to watch a folder and others, and reports whether there
// was one to be had.
func (w *Watcher) open(folder string) bool {
	notify, err := Instance()
	if err == nil {
		w.notify = notify
		go w.forward()
	} else if w.warn != nil {
		w.warn(hint.Add(fmt.Errorf("watch %s for changes: %w; it is looked at again and again until that works", folder, err),
			"see fs.inotify.max_user_instances in inotify(7)"))
		w.warn = nil
	}
	return err == nil
}

// Blind reports whether the Watcher has no inotify instance: each user has a few, and
// containers that run as root use those of root. Changed delivers nothing then, and the
// folders have to be looked at from time to time. Each Sync tries to get an instance.
func (w *Watcher) Blind() bool { return w.notify == nil }

// Changed delivers a value after something has changed in a watched folder: one value,
// however much has changed.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Close ends watching.
func (w *Watcher) Close() error {
	if w.Blind() {
		return nil
	}
	return w.notify.Close()
}

// counts reports whether a file of that name may matter. Most files that begin with a dot
// are unfinished, or for others.
func (w *Watcher) counts(name string) bool {
	return !strings.HasPrefix(name, ".") || slices.ContainsFunc(w.hidden, func(begin string) bool { return strings.HasPrefix(name, begin) })
}

func (w *Watcher) forward() {
	for {
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if !w.counts(filepath.Base(event.Name)) {
				continue
			}
		case _, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			// The kernel's queue overflowed: something has changed, but what is unknown.
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// Sync makes the Watcher watch these folders and no others. Of a folder that
// does not exist, the nearest parent that does is watched. A folder's own parent
// is watched too, because only that tells when the folder is replaced. It is no error
// that the Watcher is blind.
func (w *Watcher) Sync(folders []string) error {
	if w.Blind() && (len(folders) == 0 || !w.open(folders[0])) {
		return nil
	}
	var wanted map[string]bool
	for {
		before := wanted
		wanted = make(map[string]bool)
		for _, folder := range folders {
			folder = filepath.Clean(folder)
			wanted[nearest(folder)] = true
			wanted[nearest(filepath.Dir(folder))] = true
		}
		// A folder that was created before its parent was watched went unnoticed.
		if before != nil && maps.Equal(before, wanted) {
			return nil
		}
		if err := w.set(wanted); err != nil {
			return err
		}
	}
}

func (w *Watcher) set(wanted map[string]bool) error {
	// The kernel forgets a folder that is removed. The next one of that name may get the
	// same inode number, and look the same.
	known := make(map[string]bool)
	for _, path := range w.notify.WatchList() {
		known[path] = true
	}
	for path := range w.watched {
		if !wanted[path] || !known[path] {
			w.forget(path)
		}
	}
	var problems []error
	for path := range wanted {
		problems = append(problems, w.add(path))
	}
	return errors.Join(problems...)
}

func (w *Watcher) add(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		w.forget(path)
		return nil // the parent is watched next
	}
	if err != nil {
		return fmt.Errorf("watch for changes: %w", err)
	}
	if before, ok := w.watched[path]; ok {
		if os.SameFile(before, info) {
			return nil
		}
		w.forget(path)
	}
	err = w.notify.Add(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return hint.Add(fmt.Errorf("watch %s for changes: %w", path, err), "see fs.inotify.max_user_watches in inotify(7)")
	}
	w.watched[path] = info
	return nil
}

func (w *Watcher) forget(path string) {
	if _, ok := w.watched[path]; ok {
		// The kernel may have dropped it already.
		_ = w.notify.Remove(path)
		delete(w.watched, path)
	}
}

// nearest returns the path itself when it is a folder, or else the nearest
// parent that is.
func nearest(path string) string {
	for {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
