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
	recordSuffix    = ".env"
	failedSuffix    = ".failed"
	announcedSuffix = ".runner"
)

// RecordPath returns the run record of a runner: an environment file that is
// there as long as the container may be.
func (s Store) RecordPath(r name.Runner) string {
	return of(s.Run, r.Service, r.Mark()+recordSuffix)
}

// preStartedPrefix begins the name of the file that says that a revision's pre_start
// has succeeded. Readers of revisions pass over it.
const preStartedPrefix = ".pre-started-"

// PreStartedPath returns the file that is there when the pre_start of a revision has
// succeeded. It outlives a reboot, and goes with the revision.
func (s Store) PreStartedPath(r name.Revision) string {
	return of(s.Root, r.Service, preStartedPrefix+string(r.Rev))
}

func (s Store) failedPath(r name.Revision) string {
	return of(s.Run, r.Service, string(r.Rev)+failedSuffix)
}

// Recorded returns the revisions of a service a runner of which has a run record, oldest
// first.
func (s Store) Recorded(service name.Service) ([]name.Rev, error) {
	records, err := s.records(service)
	return revsOf(records.live), err
}

// revsOf returns the revisions of runners, each once.
func revsOf(runners []name.Runner) []name.Rev {
	var revs []name.Rev
	for _, r := range runners {
		revs = append(revs, r.Rev)
	}
	return slices.Compact(revs)
}

// records are the files about the runners of a service, each kind oldest first.
type records struct {
	live      []name.Runner // they have a run record
	announced []name.Runner
	failed    []name.Rev
}

// records returns the records of a service. Other files do not matter here.
func (s Store) records(service name.Service) (all records, err error) {
	entries, err := os.ReadDir(filepath.Join(s.Run, string(service)))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("%s: list the records: %w", service, err)
	}
	for _, entry := range entries {
		suffix := filepath.Ext(entry.Name())
		runner, err := name.ParseRunner(string(service), strings.TrimSuffix(entry.Name(), suffix))
		if err != nil {
			continue
		}
		switch suffix {
		case recordSuffix:
			all.live = append(all.live, runner)
		case announcedSuffix:
			all.announced = append(all.announced, runner)
		case failedSuffix:
			all.failed = append(all.failed, runner.Rev)
		}
	}
	slices.SortFunc(all.live, name.Runner.Compare)
	slices.SortFunc(all.announced, name.Runner.Compare)
	slices.SortFunc(all.failed, name.Rev.Compare)
	return all, nil
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

// Announce says that the good revision has a runner besides those of its replicas, or one
// that replaces one of these. It has a unit from then on, even while it does not run.
func (s Store) Announce(r name.Runner) error {
	path := s.announcedPath(r)
	err := makeFolder(filepath.Dir(path))
	if err == nil {
		err = os.WriteFile(path, nil, fileMode)
	}
	if err != nil {
		return fmt.Errorf("%s: announce it: %w", r, err)
	}
	return nil
}

// Withdraw takes back what Announce has said.
func (s Store) Withdraw(r name.Runner) error {
	if err := os.Remove(s.announcedPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: withdraw it: %w", r, err)
	}
	return nil
}

// WithdrawOthers takes back what Announce has said of revisions other than the good one.
func (s Store) WithdrawOthers(good name.Revision) error {
	all, err := s.records(good.Service)
	if err != nil {
		return err
	}
	var problems []error
	for _, r := range all.announced {
		if r.Revision != good {
			problems = append(problems, s.Withdraw(r))
		}
	}
	return errors.Join(problems...)
}

func (s Store) announcedPath(r name.Runner) string {
	return of(s.Run, r.Service, r.Mark()+announcedSuffix)
}

// ClearRecord deletes the run record of a runner that has ended.
func (s Store) ClearRecord(r name.Runner) error {
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
