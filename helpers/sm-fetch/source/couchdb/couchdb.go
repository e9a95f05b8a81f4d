// Package couchdb follows the changes of a CouchDB database, or of another
// server that speaks CouchDB's protocol.
package couchdb

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-kivik/kivik/v4"
	driver "github.com/go-kivik/kivik/v4/couchdb"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
)

// Heartbeat is how often the server is asked to give a sign of life while
// nothing changes.
const Heartbeat = 10 * time.Second

// Store is a database. One process follows it once.
type Store struct {
	name      string
	secrets   []string // that no error may repeat
	db        *kivik.DB
	heartbeat time.Duration
	strange   strange

	mu   sync.Mutex
	last line // of the changes that were read
}

var _ source.Store = (*Store)(nil)

// Open returns the database at a URL like http://user:password@host:5984/services without
// talking to the server yet. A zero heartbeat means Heartbeat; a server that is silent
// for three heartbeats is given up. report is told about documents that cannot be
// services.
func Open(setting string, heartbeat time.Duration, report func(problem string)) (*Store, error) {
	if heartbeat == 0 {
		heartbeat = Heartbeat
	}
	return open(setting, heartbeat, limitsFor(heartbeat), report)
}

func open(setting string, heartbeat time.Duration, l limits, report func(problem string)) (*Store, error) {
	a, err := parseAddress(setting)
	if err != nil {
		return nil, err
	}
	options := []kivik.Option{
		driver.OptionNoRequestCompression(),
		driver.OptionHTTPClient(newGuard(l).client()),
	}
	if a.user != nil {
		// With credentials in the URL the driver logs in for a cookie instead,
		// which other servers do not offer.
		password, _ := a.user.Password()
		options = append(options, driver.BasicAuth(a.user.Username(), password))
	}
	client, err := kivik.New("couch", a.server, options...)
	if err != nil {
		return nil, errForm
	}
	return &Store{
		name:      a.name(),
		secrets:   a.secrets(),
		db:        client.DB(a.database),
		heartbeat: heartbeat,
		strange:   strange{report: report, told: make(map[string]bool)},
	}, nil
}

// Name returns the URL without credentials.
func (s *Store) Name() string { return s.name }

// Pass reads the changes up to now.
func (s *Store) Pass(ctx context.Context, from source.Position, _ []name.Service, handle func(source.Change) error) (source.Snapshot, error) {
	instance, seq, err := s.describe(ctx)
	if err != nil {
		return source.Snapshot{}, err
	}
	another := recreated(from, instance, seq)
	if another || plain(source.Since(parameter(from.Since))) || ahead(from.Since, seq) {
		from = source.Position{}
	}
	snapshot, err := s.pass(ctx, from, handle)
	if from.Since != "" && kivik.HTTPStatus(err) == http.StatusBadRequest {
		// The server does not understand the position. It is opaque, so all that can be
		// done is to start from the beginning, as with another database.
		another = true
		snapshot, err = s.pass(ctx, source.Position{}, handle)
	}
	snapshot.Instance, snapshot.New = instance, another
	return snapshot, err
}

func (s *Store) pass(ctx context.Context, from source.Position, handle func(source.Change) error) (source.Snapshot, error) {
	s.read(line{seq: from.Since})
	present := make(map[name.Service]bool)
	last, err := s.changes(ctx, from.Since, nil, func(c source.Change, _ source.Since) error {
		if c.Deleted {
			delete(present, c.Service)
		} else {
			present[c.Service] = true
		}
		return handle(c)
	})
	if err != nil {
		return source.Snapshot{}, err
	}
	snapshot := source.Snapshot{Position: source.Position{Since: last}}
	if from.Since == "" {
		snapshot.Present = present
	}
	return snapshot, nil
}

// Get returns what the database has for a service.
func (s *Store) Get(ctx context.Context, service name.Service) (source.Change, error) {
	change, err := s.get(ctx, service)
	if change == nil && err == nil {
		change = &source.Change{Service: service, Deleted: true}
	}
	if err != nil {
		return source.Change{}, err
	}
	return *change, nil
}

// Watch follows the feed of changes until it ends.
func (s *Store) Watch(ctx context.Context, from source.Position, handle func(source.Change, source.Position) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go s.probe(ctx, from.Instance, stop)
	options := map[string]any{"feed": "continuous", "heartbeat": s.heartbeat.Milliseconds()}
	_, err := s.changes(ctx, from.Since, options, func(c source.Change, since source.Since) error {
		return handle(c, source.Position{Since: since, Instance: from.Instance})
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// changes delivers the rows of one request for changes. It returns the position after the
// last row of a feed that ends by itself.
func (s *Store) changes(ctx context.Context, since source.Since, options map[string]any, handle func(c source.Change, since source.Since) error) (last source.Since, err error) {
	params := map[string]any{"include_docs": true}
	for name, value := range options {
		params[name] = value
	}
	if since != "" {
		params["since"] = parameter(since)
	}
	feed := s.db.Changes(detach(ctx), kivik.Params(params))
	defer feed.Close()
	for {
		more, err := next(feed)
		if err != nil {
			return "", s.explain(err)
		}
		if !more {
			break
		}
		if feed.ID() == "" {
			// The line that ends a continuous feed: its timeout, or the end of the database.
			return "", errEnded
		}
		s.read(lineOf(feed))
		change, err := s.row(ctx, feed)
		if err != nil {
			return "", err
		}
		if change == nil {
			continue
		}
		if err := handle(*change, sinceOf(feed.Seq())); err != nil {
			return "", err
		}
	}
	meta, err := feed.Metadata()
	if err != nil || meta == nil {
		return "", errEnded
	}
	return sinceOf(meta.LastSeq), nil
}

var errEnded = errors.New("the server ended the feed")
