package couchdb

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/source"
)

// A database may be deleted and made again under its name while it is followed.
// CouchDB ends the feed then, and knows foreign positions when it sees them.
// Other servers do neither: their feeds fall silent for ever, and their positions
// are plain numbers that mean something else in the new database.

// describe returns when the database was made, if the server tells, and the
// position of its newest change.
func (s *Store) describe(ctx context.Context) (instance string, seq source.Since, err error) {
	stats, err := s.db.Stats(detach(ctx))
	if err != nil {
		return "", "", s.explain(err)
	}
	return instanceOf(stats.RawResponse), sinceOf(stats.UpdateSeq), nil
}

// recreated reports whether a position cannot belong to a database.
func recreated(from source.Position, instance string, seq source.Since) bool {
	another := instance != "" && from.Instance != "" && instance != from.Instance
	return another || plain(from.Since) && plain(seq) && less(seq, from.Since)
}

// probe ends a feed when the database that it belongs to is gone.
func (s *Store) probe(ctx context.Context, instance string, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(3 * s.heartbeat)
	defer ticker.Stop()
	var ahead line
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		is, seq, err := s.describe(ctx)
		if errors.Is(err, source.ErrMissing) {
			stop(err)
			return
		}
		if err != nil {
			continue // the feed's own deadline decides
		}
		have := s.newest()
		if recreated(source.Position{Since: have.seq, Instance: instance}, is, seq) {
			stop(source.ErrAgain)
			return
		}
		if !plain(seq) {
			continue
		}
		newest, err := s.ask(ctx)
		if err != nil {
			continue
		}
		switch {
		case newest == have:
			ahead = line{}
		case newest.seq == have.seq, newest == ahead:
			// Another change in the same place, or one that has not arrived since
			// the last probe.
			stop(source.ErrAgain)
			return
		default:
			ahead = newest
		}
	}
}

// ask asks the server for its newest change, the zero line when it has none.
func (s *Store) ask(ctx context.Context) (line, error) {
	feed := s.db.Changes(detach(ctx), kivik.Params(map[string]any{"descending": true, "limit": 1}))
	defer feed.Close()
	more, err := next(feed)
	if err != nil || !more {
		return line{}, err
	}
	return lineOf(feed), nil
}

// line identifies a change in the feed.
type line struct {
	seq     source.Since
	id, rev string
}

func lineOf(feed *kivik.Changes) line {
	rev := ""
	if revs := feed.Changes(); len(revs) > 0 {
		rev = revs[0]
	}
	return line{sinceOf(feed.Seq()), feed.ID(), rev}
}

// read notes the newest line that was read.
func (s *Store) read(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = l
}

func (s *Store) newest() line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// sinceOf returns the JSON value of a position, whose quotation marks the driver has
// removed.
func sinceOf(seq string) source.Since {
	if seq == "" || json.Valid([]byte(seq)) {
		return source.Since(seq)
	}
	if quoted := `"` + seq + `"`; json.Valid([]byte(quoted)) {
		return source.Since(quoted)
	}
	quoted, _ := json.Marshal(seq) // a string can be marshalled
	return source.Since(quoted)
}

// parameter returns a position as a server wants it back.
func parameter(since source.Since) string {
	var text string
	if json.Unmarshal([]byte(since), &text) == nil {
		return text
	}
	return string(since)
}

// plain reports whether a position is nothing but a number, which grows with every
// change as long as the database lives.
func plain(since source.Since) bool {
	return since != "" && strings.Trim(string(since), "0123456789") == "" && (since == "0" || since[0] != '0')
}

// less compares plain positions.
func less(a, b source.Since) bool {
	return len(a) < len(b) || len(a) == len(b) && a < b
}

// ahead reports whether a position seems to be ahead of its database, such as one that
// was restored from a backup, which would say nothing until its changes have caught up.
// Positions are opaque, so this is a guess; it costs one full reading.
func ahead(since, seq source.Since) bool {
	number := func(s source.Since) (source.Since, bool) {
		digits, _, found := strings.Cut(parameter(s), "-")
		return source.Since(digits), found && plain(source.Since(digits))
	}
	have, ok := number(since)
	is, ok2 := number(seq)
	return ok && ok2 && less(is, have)
}

// instanceOf returns when the database was made, as the server's description of
// it says. Some CouchDBs say "0" of every database; others give their own start.
func instanceOf(description []byte) string {
	var info struct {
		Instance json.RawMessage `json:"instance_start_time"`
	}
	if json.Unmarshal(description, &info) != nil {
		return ""
	}
	instance := strings.Trim(string(info.Instance), `"`)
	if instance == "0" || instance == "null" || len(instance) > 64 {
		return ""
	}
	return instance
}
