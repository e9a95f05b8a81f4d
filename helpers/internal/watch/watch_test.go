package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tells fails the test unless a change is reported after act.
func tells(t *testing.T, w *Watcher, act func() error) {
	t.Helper()
	if err := act(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.Changed():
	case <-time.After(20 * time.Second):
		t.Fatal("no change is told")
	}
}

func TestWatcher(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "a", "b", "c")
	write := func(name string) func() error {
		return func() error { return os.WriteFile(filepath.Join(folder, name), nil, 0o644) }
	}
	mkdir := func() error { return os.MkdirAll(folder, 0o755) }
	w := New(func(err error) { t.Error(err) })
	defer w.Close()
	sync := func() {
		t.Helper()
		if err := w.Sync([]string{folder}); err != nil {
			t.Fatal(err)
		}
		// What was reported until now is known.
		select {
		case <-w.Changed():
		default:
		}
	}

	sync()
	tells(t, w, mkdir)
	sync()
	tells(t, w, write("file"))
	tells(t, w, func() error { return os.RemoveAll(filepath.Join(root, "a")) })
	sync()
	tells(t, w, mkdir)
	sync()
	tells(t, w, write("file"))
	// Another folder replaces it: only its parent tells.
	tells(t, w, func() error { return os.Rename(folder, folder+".old") })
	tells(t, w, mkdir)
	sync()
	tells(t, w, write("file"))
	// The same again without a look in between, so that the inode may be reused.
	tells(t, w, func() error { return os.RemoveAll(folder) })
	tells(t, w, mkdir)
	sync()
	tells(t, w, write("file"))

	if err := w.Sync(nil); err != nil {
		t.Fatal(err)
	}
	if left := w.notify.WatchList(); len(left) > 0 {
		t.Errorf("%v are still watched", left)
	}
}
