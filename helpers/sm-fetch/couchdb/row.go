package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/store"
)

// row returns the change of the feed's current row, nil when it is not about a
// service or has been overtaken.
func (s *Store) row(ctx context.Context, feed *kivik.Changes) (*store.Change, error) {
	if strings.HasPrefix(feed.ID(), "_design/") {
		return nil, nil
	}
	var document json.RawMessage
	// Without a document in the row this fails, and there is none.
	_ = feed.ScanDoc(&document)
	if change := decode(feed.ID(), feed.Deleted(), document); change != nil {
		return change, nil
	}
	// The row's own revision is gone already: a newer one must be there.
	err := s.db.Get(detach(ctx), feed.ID()).ScanDoc(&document)
	if kivik.HTTPStatus(err) == http.StatusNotFound {
		return nil, nil // its end has a row of its own
	}
	if err != nil {
		return nil, s.explain(err)
	}
	change := decode(feed.ID(), false, document)
	if change == nil {
		return nil, fmt.Errorf("the server sent a document %q without a revision", feed.ID())
	}
	return change, nil
}

// decode returns the change that a row is about, nil when it lacks the document.
// The document's own revision counts: it may be newer than the row.
func decode(id string, deleted bool, document []byte) *store.Change {
	if deleted {
		return &store.Change{ID: id, Deleted: true}
	}
	var head struct {
		Rev     string `json:"_rev"`
		Deleted bool   `json:"_deleted"`
	}
	if bytes.Equal(document, []byte("null")) || json.Unmarshal(document, &head) != nil || head.Rev == "" {
		return nil
	}
	if head.Deleted {
		return &store.Change{ID: id, Deleted: true}
	}
	return &store.Change{ID: id, Rev: head.Rev, Document: bytes.Clone(document)}
}
