package watch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/watch"
	"service-manager/helpers/internal/watch/watchtest"
)

// All inotify instances of the user may be in use, by containers for example.
func TestBlind(t *testing.T) {
	free := watchtest.UseUp(t)
	folder := t.TempDir()
	var told []error
	w := watch.New(func(err error) { told = append(told, err) })
	defer w.Close()
	for range 3 {
		if err := w.Sync([]string{folder}); err != nil || !w.Blind() {
			t.Fatalf("Sync = %v; blind: %t", err, w.Blind())
		}
	}
	if len(told) != 1 || !errors.Is(told[0], syscall.EMFILE) {
		t.Fatalf("told %v; want one warning", told)
	}
	said, way := hint.Split(told[0])
	if !strings.HasPrefix(said, "watch "+folder+" for changes: too many open files; ") || !strings.Contains(way, "fs.inotify.max_user_instances") {
		t.Errorf("told %q with the hint %q", said, way)
	}
	free()
	if err := w.Sync([]string{folder}); err != nil || w.Blind() {
		t.Fatalf("Sync = %v; blind: %t", err, w.Blind())
	}
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.Changed():
	case <-time.After(20 * time.Second):
		t.Error("no change is told")
	}
}

// One that was never able to watch can be closed, too.
func TestCloseBlind(t *testing.T) {
	watchtest.UseUp(t)
	w := watch.New(func(error) {})
	if err := errors.Join(w.Sync(nil), w.Sync([]string{t.TempDir()}), w.Close()); err != nil {
		t.Error(err)
	}
}
