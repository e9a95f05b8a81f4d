package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// keepEntries is how many entries of one name stay in the cache: the one in
// use and the one before it, so that going back and forth between two versions
// of a product rebuilds nothing.
const keepEntries = 2

// keyDigits is the length of the hash in an entry's name.
const keyDigits = 16

// Hash returns a key for what an entry is made from.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:keyDigits]
}

// hashFile returns a key for the contents of a file.
func HashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:keyDigits], nil
}

// HashDir returns a key for the files below dir: their names, modes and contents.
func HashDir(dir string) (string, error) {
	var parts []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			content, err = os.Readlink(path)
		} else {
			content, err = HashFile(path)
		}
		parts = append(parts, name, info.Mode().String(), content)
		return err
	})
	return Hash(parts...), err
}

// CacheDir returns the folder that everything is kept in, and makes it.
func CacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		// A service's environment may lack both $XDG_CACHE_HOME and $HOME.
		user = "/var/cache"
	}
	dir := filepath.Join(user, "service-manager")
	return dir, os.MkdirAll(dir, 0o755)
}

// An Entry is a folder in the cache that is complete, and stays while the Entry
// is open: other processes prune only what no process has open.
type Entry struct {
	Path string
	Lock *os.File // a process that inherits it keeps the entry
}

// File returns the path of a file in the entry.
func (e *Entry) File(name string) string { return filepath.Join(e.Path, name) }

// OpenEntry returns parent/name-key, after building it when it is missing. It
// is built in a temporary folder that takes its name when build succeeds; one
// process builds, others wait.
func OpenEntry(ctx context.Context, log io.Writer, parent, name, key string, build func(dir string) error) (*Entry, error) {
	path := filepath.Join(parent, name+"-"+key)
	if e, err := openExisting(path); e != nil || err != nil {
		return e, err
	}
	lock, err := lockFile(ctx, log, filepath.Join(parent, "."+name+".lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if e, err := openExisting(path); e != nil || err != nil {
		return e, err
	}
	// The lock is ours: what lies about under this name was left by a build
	// that was killed.
	temporary := filepath.Join(parent, ".building-"+name)
	if err := os.RemoveAll(temporary); err != nil {
		return nil, err
	}
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return nil, err
	}
	start := time.Now()
	fmt.Fprintf(log, "harness: building %s-%s\n", name, key)
	if err := build(temporary); err != nil {
		return nil, errors.Join(fmt.Errorf("build %s: %w", name, err), os.RemoveAll(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "harness: built %s-%s in %.1fs, %d MB\n", name, key, time.Since(start).Seconds(), allocated(path)>>20)
	e, err := openExisting(path)
	if err != nil {
		return nil, err
	}
	return e, prune(parent, name)
}

// openExisting opens and locks the Entry at path; nil when there is none.
func openExisting(path string) (*Entry, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	// It may have been pruned between the open and the lock.
	opened, err1 := f.Stat()
	current, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(opened, current) {
		f.Close()
		return nil, nil
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil { // the order of use, for prune
		f.Close()
		return nil, err
	}
	return &Entry{Path: path, Lock: f}, nil
}

// prune removes the entries of this name that were used longest ago and that no
// process has open. The caller holds the name's lock.
func prune(parent, name string) error {
	found, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	type candidate struct {
		path string
		used time.Time
	}
	var candidates []candidate
	for _, d := range found {
		key, ok := strings.CutPrefix(d.Name(), name+"-")
		if !ok || len(key) != keyDigits || strings.Contains(key, "-") {
			continue
		}
		if info, err := d.Info(); err == nil {
			candidates = append(candidates, candidate{filepath.Join(parent, d.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return b.used.Compare(a.used) })
	for i, c := range candidates {
		if i < keepEntries {
			continue
		}
		if err := RemoveUnused(c.path); err != nil {
			return err
		}
	}
	return nil
}

// RemoveUnused removes a folder unless a process has it locked.
func RemoveUnused(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // another process removed it
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil
	}
	return os.RemoveAll(path)
}

// lockFile takes the lock that the file at path stands for, waiting for it
// until ctx ends. Closing the file gives it back.
func lockFile(ctx context.Context, log io.Writer, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		if !waiting {
			fmt.Fprintf(log, "harness: waiting for another process that holds %s\n", path)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond): // flock has no way to wait that a context can end
		}
	}
}

// allocated returns the bytes that the files below dir take on disk.
func allocated(dir string) int64 {
	var sum int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}
