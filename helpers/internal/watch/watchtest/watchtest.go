// Package watchtest makes watchers blind, for tests of those who use them.
package watchtest

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/fsnotify/fsnotify"

	"service-manager/helpers/internal/watch"
)

// UseUp lets no Watcher have an inotify instance until the test ends or free is called.
// Watchers must have been closed when the test ends.
func UseUp(t testing.TB) (free func()) {
	var freed atomic.Bool
	real := watch.Instance
	watch.Instance = func() (*fsnotify.Watcher, error) {
		if freed.Load() {
			return real()
		}
		return nil, syscall.EMFILE
	}
	t.Cleanup(func() { watch.Instance = real })
	return func() { freed.Store(true) }
}
