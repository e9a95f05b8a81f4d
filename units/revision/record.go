package revision

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"service-manager/units/definition"
	"service-manager/units/printable"
	"service-manager/units/revision/atomicfile"
)

const (
	recordSuffix = ".env"
	failedSuffix = ".failed"
)

// RecordPath returns the run record of a revision: an environment file that is
// there as long as the container may be.
func (s Store) RecordPath(service, revision string) string {
	return filepath.Join(s.Run, service, revision+recordSuffix)
}

func (s Store) failedPath(service, revision string) string {
	return filepath.Join(s.Run, service, revision+failedSuffix)
}

// Recorded returns the revisions of a service that have a run record, oldest
// first.
func (s Store) Recorded(service string) ([]string, error) {
	recorded, _, err := s.records(service)
	return recorded, err
}

// records returns the revisions that have a run record and those that have a
// failed record, each oldest first. Other files are nobody's business here.
func (s Store) records(service string) (recorded, failed []string, err error) {
	entries, err := os.ReadDir(filepath.Join(s.Run, service))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: list the records: %w", service, err)
	}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), recordSuffix); ok && definition.CheckRevision(name) == nil {
			recorded = append(recorded, name)
		}
		if name, ok := strings.CutSuffix(entry.Name(), failedSuffix); ok && definition.CheckRevision(name) == nil {
			failed = append(failed, name)
		}
	}
	slices.SortFunc(recorded, compare)
	slices.SortFunc(failed, compare)
	return recorded, failed, nil
}

// SetFailed records why a revision failed, on one line.
func (s Store) SetFailed(service, revision, reason string) error {
	if err := check(service, revision); err != nil {
		return err
	}
	path := s.failedPath(service, revision)
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s %s: record the failure: %w", service, revision, err)
	}
	if err := atomicfile.Write(path, []byte(printable.Clean(reason).String()+"\n"), fileMode); err != nil {
		return fmt.Errorf("%s %s: record the failure: %w", service, revision, err)
	}
	return nil
}

// Failed returns why a revision was rejected, and whether it was.
func (s Store) Failed(service, revision string) (reason string, failed bool, err error) {
	record, err := os.ReadFile(s.failedPath(service, revision))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("%s %s: read why it failed: %w", service, revision, err)
	}
	return strings.TrimSuffix(string(record), "\n"), true, nil
}

// ClearRecord deletes the run record of a revision whose runner has ended.
func (s Store) ClearRecord(service, revision string) error {
	if err := check(service, revision); err != nil {
		return err
	}
	if err := os.Remove(s.RecordPath(service, revision)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %s: delete the run record: %w", service, revision, err)
	}
	return nil
}

// ClearFailed forgets that a revision failed.
func (s Store) ClearFailed(service, revision string) error {
	if err := check(service, revision); err != nil {
		return err
	}
	err := os.Remove(s.failedPath(service, revision))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %s: forget the failure: %w", service, revision, err)
	}
	return nil
}
