package revision

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"service-manager/units/name"
	"service-manager/units/printable"
	"service-manager/units/revision/atomicfile"
)

const (
	recordSuffix = ".env"
	failedSuffix = ".failed"
)

// RecordPath returns the run record of a revision: an environment file that is
// there as long as the container may be.
func (s Store) RecordPath(r name.Revision) string {
	return filepath.Join(s.Run, string(r.Service), string(r.Rev)+recordSuffix)
}

// preStartedPrefix begins the name of the file that says that a revision's pre_start
// has succeeded. Readers of revisions pass over it.
const preStartedPrefix = ".pre-started-"

// PreStartedPath returns the file that is there when the pre_start of a revision has
// succeeded. It outlives a reboot, and goes with the revision.
func (s Store) PreStartedPath(r name.Revision) string {
	return filepath.Join(s.Root, string(r.Service), preStartedPrefix+string(r.Rev))
}

func (s Store) failedPath(r name.Revision) string {
	return filepath.Join(s.Run, string(r.Service), string(r.Rev)+failedSuffix)
}

// Recorded returns the revisions of a service that have a run record, oldest
// first.
func (s Store) Recorded(service name.Service) ([]name.Rev, error) {
	recorded, _, err := s.records(service)
	return recorded, err
}

// records returns the revisions that have a run record and those that have a
// failed record, each oldest first. Other files do not matter here.
func (s Store) records(service name.Service) (recorded, failed []name.Rev, err error) {
	entries, err := os.ReadDir(filepath.Join(s.Run, string(service)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: list the records: %w", service, err)
	}
	for _, entry := range entries {
		suffix := filepath.Ext(entry.Name())
		rev, err := name.ParseRev(strings.TrimSuffix(entry.Name(), suffix))
		switch {
		case err != nil:
		case suffix == recordSuffix:
			recorded = append(recorded, rev)
		case suffix == failedSuffix:
			failed = append(failed, rev)
		}
	}
	slices.SortFunc(recorded, name.Rev.Compare)
	slices.SortFunc(failed, name.Rev.Compare)
	return recorded, failed, nil
}

// SetFailed records why a revision failed, on one line.
func (s Store) SetFailed(r name.Revision, reason string) error {
	path := s.failedPath(r)
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: record the failure: %w", r, err)
	}
	if err := atomicfile.Write(path, []byte(printable.Clean(reason).String()+"\n"), fileMode); err != nil {
		return fmt.Errorf("%s: record the failure: %w", r, err)
	}
	return nil
}

// Failed returns why a revision was rejected, and whether it was.
func (s Store) Failed(r name.Revision) (reason string, failed bool, err error) {
	record, err := os.ReadFile(s.failedPath(r))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("%s: read why it failed: %w", r, err)
	}
	return strings.TrimSuffix(string(record), "\n"), true, nil
}

// ClearRecord deletes the run record of a revision whose runner has ended.
func (s Store) ClearRecord(r name.Revision) error {
	if err := os.Remove(s.RecordPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: delete the run record: %w", r, err)
	}
	return nil
}

// ClearFailed forgets that a revision failed.
func (s Store) ClearFailed(r name.Revision) error {
	err := os.Remove(s.failedPath(r))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: forget the failure: %w", r, err)
	}
	return nil
}
