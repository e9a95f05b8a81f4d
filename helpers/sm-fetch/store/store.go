// Package store says what sm-fetch needs of a store of definitions, whatever
// the store is: a CouchDB database or a folder of files.
package store

import (
	"context"
	"errors"
)

// Store is a place that service definitions come from.
type Store interface {
	// Name tells stores apart: a URL without credentials, or a path.
	Name() string
	// Pass hands over every document that changed after a position, up to now.
	// Documents that are handed over again do no harm. The error of handle ends it.
	Pass(ctx context.Context, from Position, handle func(Change) error) (Snapshot, error)
	// Watch hands over every document that changes after a position, with the
	// position that is reached by it, until the context ends, handle fails or the
	// store is lost. It returns ErrAgain when only a new Pass can tell what changed.
	Watch(ctx context.Context, from Position, handle func(Change, Position) error) error
}

// Change is what became of one document.
type Change struct {
	ID       string // of the document: the name of a service
	Rev      string // its revision; empty when the store does not name revisions
	Deleted  bool
	Document []byte // as the store has it; nil when it was deleted
}

// Position is a place in a store's sequence of changes. The zero Position is its
// beginning.
type Position struct {
	Since string `json:"since,omitempty"` // opaque; means something to the store alone
	// Instance tells a store from one of the same name that was there before.
	Instance string `json:"instance,omitempty"`
}

// Snapshot is what a Pass has come to.
type Snapshot struct {
	Position
	// Present holds the documents that exist, nil unless the pass saw all of them.
	Present map[string]bool
	// Exact says that whatever is not Present has been removed.
	Exact bool
	// Anew says that the store is another one of that name than the position is of,
	// and so that what is not Present has not been removed from it.
	Anew bool
	// Absent says that the store does not exist yet, and that Watch waits for it.
	Absent bool
}

// ErrMissing says that the store answers and does not have the database. What
// comes back under its name starts at the zero Position.
var ErrMissing = errors.New("the database does not exist")

// ErrAgain asks for a new Pass at once.
var ErrAgain = errors.New("the store has been replaced")
