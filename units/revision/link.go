package revision

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// Current returns the newest revision that was accepted from the store as valid,
// empty when there is none.
func (s Store) Current(service name.Service) (name.Rev, error) { return s.link(service, current) }

// Good returns the newest revision that once served, empty when there is none.
func (s Store) Good(service name.Service) (name.Rev, error) { return s.link(service, good) }

// SetCurrent makes a revision on disk the current one.
func (s Store) SetCurrent(r name.Revision) error { return s.setLink(r, current) }

// SetGood makes a revision on disk the good one.
func (s Store) SetGood(r name.Revision) error { return s.setLink(r, good) }

func (s Store) link(service name.Service, link string) (name.Rev, error) {
	path := of(s.Root, service, link)
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: read the link %s: %w", service, link, err)
	}
	file, isJSON := strings.CutSuffix(target, suffix)
	rev, err := name.ParseRev(file)
	if !isJSON || err != nil {
		return "", fmt.Errorf("%s: %s leads to %q, which is not a revision; remove the link", service, path, target)
	}
	return rev, nil
}

func (s Store) setLink(r name.Revision, link string) error {
	if _, err := os.Stat(s.Path(r)); err != nil {
		return fmt.Errorf("%s: make it %s: %w", r, link, err)
	}
	if have, err := s.link(r.Service, link); err == nil && have == r.Rev {
		return nil
	}
	if err := atomicfile.Link(string(r.Rev)+suffix, of(s.Root, r.Service, link)); err != nil {
		return fmt.Errorf("%s: make it %s: %w", r, link, err)
	}
	return nil
}

// MarkDeleted records that the store has deleted the service. Its units stay
// until they have stopped in order and Remove forgets them.
func (s Store) MarkDeleted(service name.Service) error {
	if err := atomicfile.Write(of(s.Root, service, deleted), nil, fileMode); err != nil {
		return fmt.Errorf("%s: mark it deleted: %w", service, err)
	}
	return nil
}

// UnmarkDeleted undoes MarkDeleted.
func (s Store) UnmarkDeleted(service name.Service) error {
	err := os.Remove(of(s.Root, service, deleted))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: remove the mark of its deletion: %w", service, err)
	}
	return nil
}

// Deleted reports whether the service is marked as deleted.
func (s Store) Deleted(service name.Service) bool {
	_, err := os.Lstat(of(s.Root, service, deleted))
	return err == nil
}
