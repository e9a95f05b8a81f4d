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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"service-manager/units/definition"
	"service-manager/units/name"
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
type Store struct {
	Root, Run string
	Known     *Known // nil: every document is parsed whenever it is read
}

// Path returns the file of a revision.
func (s Store) Path(r name.Revision) string { return of(s.Root, r.Service, string(r.Rev)+suffix) }

// of returns the path of a file about a service. A generator asks for thousands, and
// what filepath.Join looks for is not in names.
func of(root string, service name.Service, file string) string {
	return root + "/" + string(service) + "/" + file
}

// Services returns the names of the services that have a folder, sorted. The
// error, if any, names what else was found; the names are good anyway.
func (s Store) Services() ([]name.Service, error) {
	entries, err := os.ReadDir(s.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	var services []name.Service
	var problems []error
	for _, entry := range entries {
		service, err := name.ParseService(entry.Name())
		switch path := filepath.Join(s.Root, entry.Name()); {
		case strings.HasPrefix(entry.Name(), "."):
		case !entry.IsDir():
			problems = append(problems, fmt.Errorf("%s: is not the folder of a service; move it away", path))
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: the name of a service %w", path, err))
		default:
			services = append(services, service)
		}
	}
	return services, errors.Join(problems...)
}

// Save stores the document of a revision, as it is. A revision that is there
// already, and valid, stays as it is.
func (s Store) Save(r name.Revision, document []byte) error {
	path := s.Path(r)
	if have, err := os.ReadFile(path); err == nil {
		if _, err := s.Parse(r, have); err == nil || bytes.Equal(have, document) {
			return nil
		}
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: save the revision: %w", r, err)
	}
	if err := atomicfile.Write(path, document, fileMode); err != nil {
		return fmt.Errorf("%s: save the revision: %w", r, err)
	}
	return atomicfile.SyncDir(s.Root)
}

// Read returns the definition of a revision on disk.
func (s Store) Read(r name.Revision) (*definition.Definition, error) {
	document, err := smallfile.Read(s.Path(r), definition.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s: read the revision: %w", r, err)
	}
	return s.Parse(r, document)
}

// Parse returns the definition that the document of a revision holds, as definition.Parse
// does.
func (s Store) Parse(r name.Revision, document []byte) (*definition.Definition, error) {
	return s.Known.parse(r, document)
}

// Revisions returns the names of all revisions of a service on disk, oldest first. The
// error, if any, names what else was found; the names are good anyway.
func (s Store) Revisions(service name.Service) ([]name.Rev, error) {
	dir := filepath.Join(s.Root, string(service))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: list the revisions: %w", service, err)
	}
	var revs []name.Rev
	var problems []error
	for _, entry := range entries {
		file := entry.Name()
		if file == current || file == good || file == deleted || strings.HasPrefix(file, ".") {
			continue
		}
		stem, isJSON := strings.CutSuffix(file, suffix)
		if rev, err := name.ParseRev(stem); isJSON && err == nil && entry.Type().IsRegular() {
			revs = append(revs, rev)
		} else {
			problems = append(problems, fmt.Errorf("%s: is not a revision; move it away", filepath.Join(dir, file)))
		}
	}
	slices.SortFunc(revs, name.Rev.Compare)
	return revs, errors.Join(problems...)
}

// Prune removes old revisions of a service with their failed records. The
// current one, the good one, whatever has a run record, those that busy returns
// and the newest Kept stay. busy is asked only when there is something to remove,
// and may be nil.
func (s Store) Prune(service name.Service, busy func() ([]name.Rev, error)) error {
	revs, _ := s.Revisions(service) // who reads the folder reports what else is in it
	if len(revs) <= Kept {
		return nil
	}
	keep := make(map[name.Rev]bool)
	for _, link := range []string{current, good} {
		rev, err := s.link(service, link)
		if err != nil {
			return fmt.Errorf("prune: %w", err) // what it meant must not be lost
		}
		keep[rev] = true
	}
	recorded, err := s.Recorded(service)
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	for _, rev := range recorded {
		keep[rev] = true
	}
	old := slices.DeleteFunc(revs[:len(revs)-Kept], func(rev name.Rev) bool { return keep[rev] })
	if len(old) == 0 {
		return nil
	}
	if busy != nil {
		revs, err := busy()
		if err != nil {
			return fmt.Errorf("%s: prune: %w", service, err)
		}
		for _, rev := range revs {
			keep[rev] = true
		}
	}
	for _, rev := range old {
		if keep[rev] {
			continue
		}
		r := service.Revision(rev)
		if err := os.Remove(s.Path(r)); err != nil {
			return fmt.Errorf("%s: prune: %w", r, err)
		}
		s.Known.forget(r)
		for _, path := range []string{s.PreStartedPath(r), s.scalePath(r)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: prune: %w", r, err)
			}
		}
		if err := s.ClearFailed(r); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a service: its revisions, links and records. It leaves nothing
// half removed, whenever it is cut short.
func (s Store) Remove(service name.Service) error {
	if service == "" {
		return errors.New("remove the revisions: no service is named") // it would be all of them
	}
	// The records first: without revisions, no one would look for them, and the next service
	// of that name would have them.
	doomed := filepath.Join(s.Root, atomicfile.TempPrefix+"removed-"+string(service))
	if err := errors.Join(os.RemoveAll(filepath.Join(s.Run, string(service))), os.RemoveAll(doomed)); err != nil {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	err := os.Rename(filepath.Join(s.Root, string(service)), doomed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	s.Known.forgetService(service)
	if err := os.RemoveAll(doomed); err != nil {
		return fmt.Errorf("%s: remove the revisions: %w", service, err)
	}
	return nil
}

// Clean removes what writes and removals that were cut short left behind, and
// takes from other users what earlier releases let them read. It leaves files alone
// that may still be being written, and a service whose lock it does not get before the
// context ends.
func (s Store) Clean(ctx context.Context) error {
	problems := []error{removeTemporary(s.Root), tighten(s.Root, folderMode)}
	records, _ := filepath.Glob(filepath.Join(s.Run, "*")) // of services, and of what the helpers keep beside them
	for _, dir := range records {
		problems = append(problems, removeTemporary(dir))
	}
	entries, err := os.ReadDir(s.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, entry := range entries {
		file, isLock := strings.CutPrefix(entry.Name(), lockPrefix)
		service, err := name.ParseService(file)
		if !isLock && !entry.IsDir() || err != nil {
			continue
		}
		// To unlock removes the lock of a service that is gone.
		unlock, err := s.Lock(ctx, service, nil)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		dir := filepath.Join(s.Root, string(service))
		problems = append(problems, removeTemporary(dir), tightenAll(dir), tightenAll(filepath.Join(s.Run, string(service))))
		unlock()
	}
	return errors.Join(problems...)
}

func removeTemporary(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, atomicfile.TempPrefix+"*"))
	problems := []error{err}
	for _, path := range left {
		// Not everything that writes has the lock.
		if info, err := os.Lstat(path); err == nil && !info.IsDir() && time.Since(info.ModTime()).Abs() < atomicfile.Longest {
			continue
		}
		problems = append(problems, os.RemoveAll(path))
	}
	return errors.Join(problems...)
}
