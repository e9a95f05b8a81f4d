package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"service-manager/units"
)

// write puts the files into dir. Each appears whole or not at all: two reloads
// at once run two generators on one folder.
func write(dir string, files []units.File) error {
	var problems []error
	made := make(map[string]bool)
	for _, file := range files {
		if err := writeOne(dir, file, made); err != nil {
			problems = append(problems, fmt.Errorf("write %s: %w", file.Path, err))
		}
	}
	return errors.Join(problems...)
}

// writeOne writes one file. made remembers which folders are there.
func writeOne(dir string, file units.File, made map[string]bool) error {
	path := filepath.Join(dir, file.Path)
	if parent := filepath.Dir(path); !made[parent] {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		made[parent] = true
	}
	// The process number keeps two generators apart. There is nothing to sync: the
	// folder is in memory.
	temp := fmt.Sprintf("%s/.#%s.%d", filepath.Dir(path), filepath.Base(path), os.Getpid())
	if file.Target != "" {
		if err := os.Symlink(file.Target, temp); err != nil {
			return err
		}
	} else if err := os.WriteFile(temp, file.Content, 0o644); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}
