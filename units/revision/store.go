// Package revision keeps the revisions of services on disk, and what became of
// them.
//
// A folder for each service holds its revisions, immutable files that are named
// after them, and two symbolic links: current, the newest revision that the
// store of definitions offered, and good, the newest that once served. A second
// folder, which a reboot empties, holds a run record for every live container
// and a failed record for every revision that was tried in vain.
package revision

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"service-manager/units/definition"
	"service-manager/units/revision/atomicfile"
	"service-manager/units/smallfile"
)

// Where revisions and records are on every host.
const (
	Root = "/etc/service-manager/revisions"
	Run  = "/run/service-manager"
)

// Kept is how many of a service's newest revisions Prune leaves in any case.
const Kept = 10

const (
	current = "current"
	good    = "good"
	deleted = "deleted"
	suffix  = ".json"
)

// Store is a pair of folders with revisions and records. Root need not exist.
type Store struct{ Root, Run string }

// Path returns the file of a revision.
func (s Store) Path(service, revision string) string {
	return filepath.Join(s.Root, service, revision+suffix)
}

// Services returns the names of the services that have a folder, sorted. The
// error, if any, names what else was found; the names are good all the same.
func (s Store) Services() ([]string, error) {
	entries, err := os.ReadDir(s.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	var names []string
	var problems []error
	for _, entry := range entries {
		switch name := entry.Name(); {
		case strings.HasPrefix(name, "."):
		case !entry.IsDir():
			problems = append(problems, fmt.Errorf("%s: is not the folder of a service; move it away", filepath.Join(s.Root, name)))
		case definition.CheckService(name) != nil:
			problems = append(problems, fmt.Errorf("%s: the name of a service %w", filepath.Join(s.Root, name), definition.CheckService(name)))
		default:
			names = append(names, name)
		}
	}
	return names, errors.Join(problems...)
}

// Save stores the document of a revision, as it is. A revision that is there
// already, and valid, stays as it is.
func (s Store) Save(service, revision string, document []byte) error {
	if err := check(service, revision); err != nil {
		return err
	}
	path := s.Path(service, revision)
	if have, err := os.ReadFile(path); err == nil {
		if _, err := definition.Parse(service, revision, have); err == nil || bytes.Equal(have, document) {
			return nil
		}
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s %s: save the revision: %w", service, revision, err)
	}
	if err := atomicfile.Write(path, document, fileMode); err != nil {
		return fmt.Errorf("%s %s: save the revision: %w", service, revision, err)
	}
	return atomicfile.SyncDir(s.Root)
}

// Read returns the definition of a revision on disk.
func (s Store) Read(service, revision string) (*definition.Definition, error) {
	document, err := smallfile.Read(s.Path(service, revision), definition.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the revision: %w", service, revision, err)
	}
	return definition.Parse(service, revision, document)
}

// Revisions returns the names of all revisions of a service on disk, oldest
// first. The error, if any, names what else was found; the names are good all
// the same.
func (s Store) Revisions(service string) ([]string, error) {
	dir := filepath.Join(s.Root, service)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: list the revisions: %w", service, err)
	}
	var names []string
	var problems []error
	for _, entry := range entries {
		file := entry.Name()
		name, isJSON := strings.CutSuffix(file, suffix)
		switch {
		case file == current, file == good, file == deleted, strings.HasPrefix(file, "."):
		case isJSON && definition.CheckRevision(name) == nil && entry.Type().IsRegular():
			names = append(names, name)
		default:
			problems = append(problems, fmt.Errorf("%s: is not a revision; move it away", filepath.Join(dir, file)))
		}
	}
	slices.SortFunc(names, compare)
	return names, errors.Join(problems...)
}

// compare orders revisions by generation, those of one generation by digest.
func compare(a, b string) int {
	return cmp.Or(cmp.Compare(Generation(a), Generation(b)), cmp.Compare(a, b))
}

// Generation returns the number that the name of a revision begins with, 0 for
// the empty name.
func Generation(revision string) int {
	number, _, _ := strings.Cut(revision, "-")
	n, _ := strconv.Atoi(number)
	return n
}

// Prune removes old revisions of a service with their failed records. The
// current one, the good one, whatever has a run record, those that busy returns
// and the newest Kept stay. busy is asked only when there is something to remove,
// and may be nil.
func (s Store) Prune(service string, busy func() ([]string, error)) error {
	names, _ := s.Revisions(service) // who reads the folder reports what else is in it
	if len(names) <= Kept {
		return nil
	}
	keep := make(map[string]bool)
	for _, link := range []string{current, good} {
		name, err := s.link(service, link)
		if err != nil {
			return fmt.Errorf("prune: %w", err) // what it meant must not be lost
		}
		keep[name] = true
	}
	recorded, err := s.Recorded(service)
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	for _, name := range recorded {
		keep[name] = true
	}
	old := slices.DeleteFunc(names[:len(names)-Kept], func(name string) bool { return keep[name] })
	if len(old) == 0 {
		return nil
	}
	if busy != nil {
		names, err := busy()
		if err != nil {
			return fmt.Errorf("%s: prune: %w", service, err)
		}
		for _, name := range names {
			keep[name] = true
		}
	}
	for _, name := range old {
		if keep[name] {
			continue
		}
		if err := os.Remove(s.Path(service, name)); err != nil {
			return fmt.Errorf("%s %s: prune: %w", service, name, err)
		}
		if err := s.ClearFailed(service, name); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a service: its revisions, links and records. It leaves nothing
// half removed, whenever it is cut short.
func (s Store) Remove(service string) error {
	if err := check(service, ""); err != nil {
		return err
	}
	doomed := filepath.Join(s.Root, atomicfile.TempPrefix+"removed-"+service)
	if err := os.RemoveAll(doomed); err != nil {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	err := os.Rename(filepath.Join(s.Root, service), doomed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	if err := errors.Join(os.RemoveAll(doomed), os.RemoveAll(filepath.Join(s.Run, service))); err != nil {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	return nil
}

// Clean removes what writes and removals that were cut short left behind, and
// takes from other users what earlier releases let them read. It leaves a service
// alone whose lock it does not get before the context ends.
func (s Store) Clean(ctx context.Context) error {
	problems := []error{removeTemporary(s.Root), tighten(s.Root, folderMode)}
	entries, err := os.ReadDir(s.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, entry := range entries {
		service, isLock := strings.CutPrefix(entry.Name(), lockPrefix)
		if !isLock && !entry.IsDir() || definition.CheckService(service) != nil {
			continue
		}
		// To unlock removes the lock of a service that is gone.
		unlock, err := s.Lock(ctx, service, nil)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		dir := filepath.Join(s.Root, service)
		problems = append(problems, removeTemporary(dir), tightenAll(dir), tightenAll(filepath.Join(s.Run, service)))
		unlock()
	}
	return errors.Join(problems...)
}

func removeTemporary(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, atomicfile.TempPrefix+"*"))
	problems := []error{err}
	for _, path := range left {
		problems = append(problems, os.RemoveAll(path))
	}
	return errors.Join(problems...)
}

// check keeps names that would lead out of the folders from the disk. An empty
// revision is not looked at.
func check(service, revision string) error {
	if err := definition.CheckService(service); err != nil {
		return fmt.Errorf("the name of a service %w", err)
	}
	if revision == "" {
		return nil
	}
	if err := definition.CheckRevision(revision); err != nil {
		return fmt.Errorf("%s: the name of a revision %w", service, err)
	}
	return nil
}
