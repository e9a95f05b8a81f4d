package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := NewWaiter(nil).Lock(t.Context(), open(t, path)); err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf("process %d (", os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	w := NewWaiter(func(holder string) {
		told = append(told, holder)
		cancel()
	})
	w.began = time.Now().Add(-Patience)
	file := open(t, path)
	for range 2 {
		if err := w.Lock(ctx, file); err == nil || !strings.HasPrefix(err.Error(), "lock "+path+", which "+me) || !strings.HasSuffix(err.Error(), "holds: context canceled") {
			t.Errorf("Lock = %v", err)
		}
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], me) {
		t.Errorf("told %q; want %q, once", told, me)
	}
}

// After a failure of the disk, its file system may be read-only.
func TestOpenReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	w := NewWaiter(nil)
	w.open = func(path string, flag int, mode fs.FileMode) (*os.File, error) {
		if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 {
			return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.EROFS}
		}
		return os.OpenFile(path, flag, mode)
	}
	if _, err := w.Open(t.Context(), path); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("Open of a file that cannot be made = %v", err)
	}
	open(t, path)
	file, err := w.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewWaiter(nil).Lock(ctx, open(t, path)); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a file that is locked = %v", err)
	}
}

func TestLockHolder(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 11 08:02:77 0 EOF
2: FLOCK  ADVISORY  WRITE 12 08:02:770 0 EOF
3: FLOCK  ADVISORY  WRITE 13 08:02:77 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 08:02:77 0 EOF
`
	for inode, want := range map[uint64]string{77: "13", 770: "12", 7: ""} {
		if got := lockHolder(locks, inode); got != want {
			t.Errorf("lockHolder(%d) = %q, want %q", inode, got, want)
		}
	}
}
