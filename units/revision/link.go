package revision

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"service-manager/units/definition"
	"service-manager/units/revision/atomicfile"
)

// Current returns the newest revision that was accepted from the store as valid,
// empty when there is none.
func (s Store) Current(service string) (string, error) { return s.link(service, current) }

// Good returns the newest revision that once served, empty when there is none.
func (s Store) Good(service string) (string, error) { return s.link(service, good) }

// SetCurrent makes a revision on disk the current one.
func (s Store) SetCurrent(service, revision string) error {
	return s.setLink(service, current, revision)
}

// SetGood makes a revision on disk the good one.
func (s Store) SetGood(service, revision string) error { return s.setLink(service, good, revision) }

func (s Store) link(service, name string) (string, error) {
	path := filepath.Join(s.Root, service, name)
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: read the link %s: %w", service, name, err)
	}
	revision, isJSON := strings.CutSuffix(target, suffix)
	if !isJSON || definition.CheckRevision(revision) != nil {
		return "", fmt.Errorf("%s: %s leads to %q, which is not a revision; remove the link", service, path, target)
	}
	return revision, nil
}

func (s Store) setLink(service, name, revision string) error {
	if err := check(service, revision); err != nil {
		return err
	}
	if _, err := os.Stat(s.Path(service, revision)); err != nil {
		return fmt.Errorf("%s %s: make it %s: %w", service, revision, name, err)
	}
	if have, err := s.link(service, name); err == nil && have == revision {
		return nil
	}
	if err := atomicfile.Link(revision+suffix, filepath.Join(s.Root, service, name)); err != nil {
		return fmt.Errorf("%s %s: make it %s: %w", service, revision, name, err)
	}
	return nil
}

// MarkDeleted records that the store has deleted the service. Its units stay
// until they have stopped in order and Remove forgets them.
func (s Store) MarkDeleted(service string) error {
	if err := check(service, ""); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(s.Root, service, deleted), nil, fileMode); err != nil {
		return fmt.Errorf("%s: mark it deleted: %w", service, err)
	}
	return nil
}

// Deleted reports whether the service is marked as deleted.
func (s Store) Deleted(service string) bool {
	_, err := os.Lstat(filepath.Join(s.Root, service, deleted))
	return err == nil
}
