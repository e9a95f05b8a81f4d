// Command copy does with files what a generator cannot do without, and nothing else:
// it reads the revisions of every service, so many services at a time, and writes files
// as large as units. What a generator costs beyond that is its own.
//
//	copy 1 /etc/service-manager/revisions /tmp/out 800 2300 2300
package main

import (
	"fmt"
	"os"
	"path/filepath"
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
	if len(args) < 4 {
		return fmt.Errorf("usage: copy SERVICES REVISIONS OUT SIZE…")
	}
	atATime, err := strconv.Atoi(args[0])
	if err != nil || atATime < 1 {
		return fmt.Errorf("not a number of services: %q", args[0])
	}
	revisions, out := args[1], args[2]
	var contents [][]byte
	for _, arg := range args[3:] {
		size, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("not a size: %w", err)
		}
		contents = append(contents, make([]byte, size))
	}
	services, err := os.ReadDir(revisions)
	if err != nil {
		return err
	}
	problems := make([]error, len(services))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range atATime {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := int(next.Add(1)) - 1; i < len(services); i = int(next.Add(1)) - 1 {
				problems[i] = one(filepath.Join(revisions, services[i].Name()), filepath.Join(out, services[i].Name()), contents)
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
