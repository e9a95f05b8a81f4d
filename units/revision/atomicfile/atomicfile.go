// Package atomicfile replaces files and symbolic links so that a reader, or a
// machine that loses power, sees either the old one or the new one, whole.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// TempPrefix begins the name of every file that is not finished yet. What a
// crash left behind can be told by it.
const TempPrefix = ".tmp-"

// Longest is longer than a write takes. An unfinished file that is younger may be being
// written.
const Longest = time.Minute

// Write makes path a file with that content and those permissions.
func Write(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Link makes path a symbolic link to target.
func Link(target, path string) error {
	dir := filepath.Dir(path)
	temp, err := tempLink(target, dir)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return SyncDir(dir)
}

// tempLink creates a link under a free name. The names are borrowed from
// CreateTemp, which has no counterpart for links.
func tempLink(target, dir string) (string, error) {
	for {
		f, err := os.CreateTemp(dir, TempPrefix+"*")
		if err != nil {
			return "", err
		}
		name := f.Name()
		f.Close()
		if err := os.Remove(name); err != nil {
			return "", err
		}
		err = os.Symlink(target, name)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
}

// SyncDir makes what was created, renamed or removed in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
