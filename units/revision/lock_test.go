package revision

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

func (s Store) mustLock(t *testing.T, service name.Service) (unlock func()) {
	t.Helper()
	unlock, err := s.Lock(t.Context(), service, nil)
	must(t, err)
	return unlock
}

// Ten lock and unlock one service, whose file is removed each time as long as the
// service does not exist.
func TestLock(t *testing.T) {
	s := newStore(t)
	var inside, times atomic.Int32
	var group sync.WaitGroup
	for i := range 10 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 20 {
				unlock, err := s.Lock(t.Context(), "web", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("locked twice")
				}
				if i == 0 {
					_ = s.Remove("web")
				} else if i == 1 {
					_ = s.Save(web(1), document(1))
				}
				times.Add(1)
				inside.Add(-1)
				unlock()
			}
		}()
	}
	group.Wait()
	if times.Load() != 200 {
		t.Errorf("locked %d times, want 200", times.Load())
	}
}

func TestLockLeavesNothingOfAServiceThatIsGone(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	s.mustLock(t, "web")()
	if _, err := os.Stat(s.Root + "/.lock-web"); err != nil {
		t.Error(err)
	}
	unlock := s.mustLock(t, "web")
	must(t, s.Remove("web"))
	unlock()
	s.mustLock(t, "never")()
	write(t, s.Root+"/.lock-crashed", "")
	must(t, s.Clean(t.Context()))
	if left, err := os.ReadDir(s.Root); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

func TestLockThatIsHeld(t *testing.T) {
	s := newStore(t)
	unlock := s.mustLock(t, "web")
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Lock(ctx, "web", nil)
	if want := fmt.Sprintf("web: lock %s/.lock-web, which process %d (", s.Root, os.Getpid()); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Lock = %v, want %s", err, want)
	}
	s.mustLock(t, "api")()
}

// At boot sm-fetch cleans up while helpers write.
func TestCleanLeavesWriters(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	left := s.Root + "/zoo/" + atomicfile.TempPrefix + "1"
	write(t, left, "")
	age(t, left)
	unlock := s.mustLock(t, "web")
	unfinished := s.Root + "/web/" + atomicfile.TempPrefix + "2"
	write(t, unfinished, "")
	age(t, unfinished)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Clean(ctx); err == nil || !strings.Contains(err.Error(), "web: lock") {
		t.Errorf("Clean = %v", err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the lock of one service keeps another from being cleaned")
	}
	must(t, os.Rename(unfinished, s.Root+"/web/finished"))
	unlock()
}

// Not everything that writes has the lock: what runs once notes there that it did.
func TestCleanLeavesWhatIsNew(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	file, link := s.Root+"/web/"+atomicfile.TempPrefix+"1", s.Root+"/web/"+atomicfile.TempPrefix+"2"
	write(t, file, "")
	must(t, os.Symlink("nowhere", link))
	must(t, s.Clean(t.Context()))
	for _, path := range []string{file, link} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it may be being written: %v", err)
		}
	}
	age(t, file)
	must(t, s.Clean(t.Context()))
	if _, err := os.Lstat(file); err == nil {
		t.Error("what a crash has left stays for ever")
	}
}

// age makes an unfinished file look like what a crash has left.
func age(t *testing.T, path string) {
	t.Helper()
	old := time.Now().Add(-atomicfile.Longest - time.Second)
	must(t, os.Chtimes(path, old, old))
}

// Earlier releases let everyone read revisions, and hold a lock on their folder.
func TestModes(t *testing.T) {
	s := newStore(t)
	for _, file := range []string{s.Root + "/web/deleted", s.Path(web(1)), s.failedPath(web(1))} {
		write(t, file, "x")
		must(t, os.Chmod(file, 0o644))
	}
	must(t, s.Clean(t.Context()))
	api := name.Revision{Service: "api", Rev: rev(1)}
	must(t, s.Save(api, []byte("{}")))
	must(t, s.MarkDeleted("api"))
	must(t, s.SetFailed(api, "secret"))
	s.mustLock(t, "api")()
	for _, root := range []string{s.Root, s.Run} {
		must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 && path != s.Run {
				t.Errorf("%s has the mode %v", path, info.Mode())
			}
			return err
		}))
	}
}
