package couchdb

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/store"
)

// A database may be deleted and made anew under its name while it is followed.
// CouchDB ends the feed then, and knows foreign positions when it sees them.
// Other servers do neither: their feeds fall silent for ever, and their positions
// are plain numbers that mean something else in the new database.

// describe returns when the database was made, if the server tells, and the
// position of its newest change.
func (s *Store) describe(ctx context.Context) (instance, seq string, err error) {
	stats, err := s.db.Stats(detach(ctx))
	if err != nil {
		return "", "", s.explain(err)
	}
	return instanceOf(stats.RawResponse), stats.UpdateSeq, nil
}

// recreated reports whether a position cannot belong to a database.
func recreated(from store.Position, instance, seq string) bool {
	another := instance != "" && from.Instance != "" && instance != from.Instance
	return another || number(seq) < number(from.Since)
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
		if err == store.ErrMissing {
			stop(err)
			return
		}
		if err != nil {
			continue // the feed's own deadline decides
		}
		have := s.newest()
		if recreated(store.Position{Since: have.seq, Instance: instance}, is, seq) {
			stop(store.ErrAgain)
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
			stop(store.ErrAgain)
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
type line struct{ seq, id, rev string }

func lineOf(feed *kivik.Changes) line {
	rev := ""
	if revs := feed.Changes(); len(revs) > 0 {
		rev = revs[0]
	}
	return line{feed.Seq(), feed.ID(), rev}
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

// number returns the leading number of a position, which grows with every change
// as long as the database lives.
func number(since string) uint64 {
	digits, _, _ := strings.Cut(since, "-")
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

// plain reports whether a position is nothing but a number.
func plain(since string) bool { return since != "" && !strings.Contains(since, "-") }

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
