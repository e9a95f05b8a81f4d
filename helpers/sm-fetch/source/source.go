// Package source says what sm-fetch needs of a store of definitions, whatever
// the store is: a CouchDB database or a folder of files.
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
	// Name tells stores apart: a URL without credentials, or a path.
	Name() string
	// Pass hands over every document that changed after a position, up to now.
	// Documents that are handed over again do no harm. A store that remembers no
	// deletions tells by had, the services that it was known to have, what was
	// deleted. The error of handle ends it.
	Pass(ctx context.Context, from Position, had []name.Service, handle func(Change) error) (Snapshot, error)
	// Watch hands over every document that changes after a position, with the
	// position that is reached by it, until the context ends, handle fails or the
	// store is lost. It returns ErrAgain when only a new Pass can tell what changed.
	Watch(ctx context.Context, from Position, handle func(Change, Position) error) error
	// Get returns what the store has of a service now. It is a deletion when it has
	// none.
	Get(ctx context.Context, service name.Service) (Change, error)
}

// Change is what became of one document. Documents with names that no service can
// have are none of them: the store reports them.
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
	// Instance is the incarnation: it tells a store from one of the same name that
	// was there before. It is empty when the store does not know.
	Instance string `json:"instance,omitempty"`
}

// Since is a JSON value that means something to the store alone.
type Since string

// MarshalJSON returns the value as it is.
func (s Since) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(s)) {
		return []byte(s), nil
	}
	return json.Marshal(string(s))
}

// UnmarshalJSON takes any value.
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

// Snapshot is what a Pass has come to.
type Snapshot struct {
	Position // the next one begins there
	// New says that this is another incarnation of the store than the position was
	// of. What the earlier one said it has means nothing any more, and what this one
	// does not have was not deleted from it.
	New bool
	// Present holds the services that the store has, nil unless the Pass saw all.
	Present map[name.Service]bool
	// Waiting says that there is no store yet, and that Watch waits for it. Nothing
	// else is known then.
	Waiting bool
}

// ErrMissing says that the store answers and does not have the database.
var ErrMissing = errors.New("the database does not exist")

// ErrAgain asks for a new Pass at once.
var ErrAgain = errors.New("the store has been replaced")
