// Package source defines what sm-fetch needs from a store of definitions, whatever the
// store is: a CouchDB database or a folder of files.
package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"service-manager/units/name"
)

// Store is a place that service definitions come from.
type Store interface {
	// Name tells stores apart, also those of different kinds: a URL without credentials, or a
	// path. What has the name of the store that was followed last is taken for that store.
	Name() string
	// Pass delivers every document that changed after a position, up to now. Delivering a
	// document again does no harm. A store that remembers no deletions finds them by had,
	// the services that it was known to have. An error of handle ends it.
	Pass(ctx context.Context, from Position, had []name.Service, handle func(Change) error) (Snapshot, error)
	// Watch delivers every document that changes after a position, with the position that
	// this reaches, until the context ends, handle fails or the store is lost. It returns
	// ErrAgain when only a new Pass can tell what changed.
	Watch(ctx context.Context, from Position, handle func(Change, Position) error) error
	// Get returns what the store has for a service now: a deletion when that is nothing.
	Get(ctx context.Context, service name.Service) (Change, error)
}

// Change is what became of one document. Documents with names that no service can have
// are left out: the store reports them.
type Change struct {
	Service  name.Service `json:"ID"`
	Rev      string       // as the store names it, unchecked; empty when it names none
	Deleted  bool
	Document []byte // as the store has it; nil when it was deleted
}

// Position is a place in the sequence of changes of one incarnation of a store.
// The zero Position is its beginning.
type Position struct {
	Since Since `json:"since,omitempty"`
	// Instance is the incarnation: it distinguishes a store from an earlier one of the
	// same name, and is the same in every process that follows the store. It is empty when
	// the store does not know. A store that finds deletions by what it was known to have
	// must know: what an earlier incarnation had was not deleted from this one.
	Instance string `json:"instance,omitempty"`
}

// Since is a JSON value that only the store understands.
type Since string

// MarshalJSON returns the value as it is.
func (s Since) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(s)) {
		return []byte(s), nil
	}
	return json.Marshal(string(s))
}

// UnmarshalJSON accepts any value.
func (s *Since) UnmarshalJSON(data []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return err
	}
	if *s = Since(b.String()); *s == "null" {
		*s = ""
	}
	return nil
}

// Snapshot is the result of a Pass.
type Snapshot struct {
	Position // where the next one begins
	// New says that this is another incarnation of the store than the one the position is
	// from. What the earlier one said it has no longer counts, and what this one lacks
	// was not deleted from it.
	New bool
	// Present holds the services that the store has, nil unless the Pass saw all.
	Present map[name.Service]bool
	// Waiting says that there is no store yet, and that Watch waits for it. Nothing
	// else is known then.
	Waiting bool
}

// ErrMissing says that the store does not exist, although its server answers. A store wraps
// it in its own words: fmt.Errorf("the database %w", ErrMissing).
var ErrMissing = errors.New("does not exist")

// ErrAgain asks for a new Pass at once.
var ErrAgain = errors.New("the store has been replaced")
