package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// row returns the change of the feed's current row, nil when it is not about a
// service or has been overtaken.
func (s *Store) row(ctx context.Context, feed *kivik.Changes) (*source.Change, error) {
	id := feed.ID()
	if strings.HasPrefix(id, "_") {
		return nil, nil // a design document, or what else CouchDB keeps for itself
	}
	service, err := name.ParseService(id)
	if err != nil {
		if !feed.Deleted() {
			s.strange.tell(s.name, id, err)
		}
		return nil, nil
	}
	var document json.RawMessage
	// Without a document in the row this fails, and there is none.
	_ = feed.ScanDoc(&document)
	if change := decode(service, feed.Deleted(), document); change != nil {
		if change.Deleted {
			change.Rev = lineOf(feed).rev
		}
		return change, nil
	}
	if text := string(document); text == tooLarge || text == tooDeep {
		return &source.Change{Service: service, Rev: lineOf(feed).rev, Document: instead(text)}, nil
	}
	// The row's own revision is gone already: there must be a newer one.
	return s.get(ctx, service)
}

// get returns the newest change of a document, nil when there is none.
func (s *Store) get(ctx context.Context, service name.Service) (*source.Change, error) {
	var document json.RawMessage
	err := s.db.Get(detach(ctx), string(service)).ScanDoc(&document)
	switch kivik.HTTPStatus(err) {
	case http.StatusNotFound:
		return nil, nil // its end has a row of its own
	case http.StatusRequestEntityTooLarge:
		return nil, fmt.Errorf("the document %q is %s", service, strings.Trim(tooLarge, `"`))
	}
	if err != nil {
		return nil, s.explain(err)
	}
	change := decode(service, false, document)
	if change == nil {
		return nil, fmt.Errorf("the server sent a document %q without a revision", service)
	}
	return change, nil
}

// instead returns a replacement for a document that was not kept, just as invalid.
func instead(substitute string) []byte {
	if substitute == tooLarge {
		return bytes.Repeat([]byte(" "), definition.MaxSize+1)
	}
	return []byte(substitute)
}

// decode returns the change that a row is about, nil when it lacks the document.
// The document's own revision counts: it may be newer than the row.
func decode(service name.Service, deleted bool, document []byte) *source.Change {
	if deleted {
		return &source.Change{Service: service, Deleted: true}
	}
	var head struct {
		Rev     string `json:"_rev"`
		Deleted bool   `json:"_deleted"`
	}
	if bytes.Equal(document, []byte("null")) || json.Unmarshal(document, &head) != nil || head.Rev == "" {
		return nil
	}
	if head.Deleted {
		return &source.Change{Service: service, Deleted: true}
	}
	return &source.Change{Service: service, Rev: head.Rev, Document: bytes.Clone(document)}
}
