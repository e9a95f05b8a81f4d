package harness

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func put(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644) }

func mustOpen(t *testing.T, parent, name, key string, build func(string) error) *Entry {
	t.Helper()
	e, err := OpenEntry(context.Background(), io.Discard, parent, name, Hash(key), build)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnEntryIsBuiltOnce(t *testing.T) {
	parent := t.TempDir()
	var builds atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			e, err := OpenEntry(context.Background(), io.Discard, parent, "disk", Hash("key"), func(dir string) error {
				builds.Add(1)
				return put(dir)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(e.File("file")); err != nil {
				t.Error(err)
			}
		}()
	}
	group.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times", builds.Load())
	}
}

func TestAFailedBuildLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	broken := errors.New("broken")
	_, err := OpenEntry(context.Background(), io.Discard, parent, "disk", Hash("key"), func(dir string) error {
		return errors.Join(put(dir), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	// One that was killed leaves its folder, which the next one removes.
	if err := os.Mkdir(filepath.Join(parent, ".building-disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, parent, "disk", "key", put)
	left, _ := filepath.Glob(filepath.Join(parent, ".building-*"))
	if len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOldEntriesGoUnlessInUse(t *testing.T) {
	parent := t.TempDir()
	var first *Entry
	for n, key := range []string{"one", "two", "three", "four"} {
		e := mustOpen(t, parent, "disk", key, put)
		past := time.Now().Add(time.Duration(n-10) * time.Hour)
		if err := os.Chtimes(e.Path, past, past); err != nil {
			t.Fatal(err)
		}
		if key == "one" {
			first = e // stays open
		} else {
			e.Lock.Close()
		}
		other := mustOpen(t, parent, "disk-other", key, put) // a longer name is another one
		other.Lock.Close()
	}
	var left []string
	for _, key := range []string{"one", "two", "three", "four"} {
		if _, err := os.Stat(filepath.Join(parent, "disk-"+Hash(key))); err == nil {
			left = append(left, key)
		}
	}
	if want := []string{"one", "three", "four"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v: the two newest, and what is in use", left, want)
	}
	if _, err := os.Stat(first.File("file")); err != nil {
		t.Error(err)
	}
}

func TestWaitingForAnotherBuildEnds(t *testing.T) {
	parent := t.TempDir()
	held, err := lockFile(context.Background(), io.Discard, filepath.Join(parent, ".disk.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := OpenEntry(ctx, io.Discard, parent, "disk", Hash("key"), put); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestHashSeparatesItsParts(t *testing.T) {
	if Hash("ab", "c") == Hash("a", "bc") {
		t.Error("the same key for different parts")
	}
}

func TestHashDirSeesEveryChange(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) func() error {
		return func() error {
			path := filepath.Join(dir, name)
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644), os.Chmod(path, mode))
		}
	}
	seen := map[string]int{}
	for n, change := range []func() error{
		write("a", "1", 0o644),
		write("a", "2", 0o644),
		write("a", "2", 0o755),
		write("sub/b", "2", 0o644),
		func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")) },
		func() error { return os.Symlink("c", filepath.Join(dir, "link")) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		key, err := HashDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[key]; ok {
			t.Errorf("change %d has the key of change %d", n, before)
		}
		seen[key] = n
	}
}
