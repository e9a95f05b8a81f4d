// Command copy does with files what a generator cannot do without, and nothing else:
// it reads the revisions of every service, and writes files as large as units. What
// a generator costs beyond that is its own.
//
//	copy /etc/service-manager/revisions /tmp/out 800 2300 2300
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "copy: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: copy REVISIONS OUT SIZE…")
	}
	var contents [][]byte
	for _, arg := range args[2:] {
		size, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("not a size: %w", err)
		}
		contents = append(contents, make([]byte, size))
	}
	services, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	problems := make([]error, len(services))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := int(next.Add(1)) - 1; i < len(services); i = int(next.Add(1)) - 1 {
				problems[i] = one(filepath.Join(args[0], services[i].Name()), filepath.Join(args[1], services[i].Name()), contents)
			}
		}()
	}
	workers.Wait()
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// one reads everything in a folder, and writes files.
func one(folder, out string, contents [][]byte) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		if entry.Type()&os.ModeSymlink != 0 {
			_, err = os.Readlink(path)
		} else {
			_, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
	}
	for i, content := range contents {
		if err := os.WriteFile(fmt.Sprintf("%s-%d.service", out, i), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
