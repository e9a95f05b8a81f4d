package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"service-manager/units"
	"service-manager/units/host"
	"service-manager/units/smallfile"
	"service-manager/units/unitfile"
)

// generate writes the units to dir. What cannot be read or written does not stop the
// rest. Most of the time is spent in the kernel, so services are processed in parallel.
func generate(dir, root string) error {
	r, err := host.Open(root, nil)
	services := make([]units.Service, len(r.Services))
	problems := make([]error, len(r.Services))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(services)) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			w := writer{dir: dir, made: map[string]bool{dir: true}}
			var text unitfile.Text
			for i := int(next.Add(1)) - 1; i < len(services); i = int(next.Add(1)) - 1 {
				service, err := r.Service(r.Services[i])
				problems[i] = errors.Join(err, w.write(units.RenderService(&text, r.Helpers, service)))
				text.Reset()
				// These are written by now, and the target does not need them: free the
				// memory.
				service.Definitions = nil
				services[i] = service
			}
		}()
	}
	workers.Wait()
	w := writer{dir: dir, made: map[string]bool{dir: true}}
	return errors.Join(err, errors.Join(problems...), w.write(units.RenderTarget(services)))
}

// writer writes files to a folder.
type writer struct {
	dir  string
	made map[string]bool // folders that exist
}

func (w *writer) write(files []units.File) error {
	var problems []error
	for _, file := range files {
		if err := w.writeOne(file); err != nil {
			problems = append(problems, fmt.Errorf("write %s: %w", file.Path, err))
		}
	}
	return errors.Join(problems...)
}

// writeOne writes one file. systemd empties the folder before and reads it after, so a
// file is there already only if a second generator works on the same folder.
func (w *writer) writeOne(file units.File) error {
	path := filepath.Join(w.dir, file.Path)
	if parent := filepath.Dir(path); !w.made[parent] {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		w.made[parent] = true
	}
	err := create(path, file)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	temp := fmt.Sprintf("%s/.#%s.%d", filepath.Dir(path), filepath.Base(path), os.Getpid())
	if err := create(temp, file); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

// create makes a file that does not exist yet. It syncs nothing: the folder is in memory.
func create(path string, file units.File) error {
	if file.Target != "" {
		return os.Symlink(file.Target, path)
	}
	return smallfile.Create(path, file.Content, 0o644)
}
