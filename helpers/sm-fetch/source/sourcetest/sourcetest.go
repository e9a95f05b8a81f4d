// Package sourcetest has the tests that every store of definitions must pass,
// whatever it is made of.
package sourcetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
)

// Backend is what holds the definitions, and what an operator does to it.
type Backend interface {
	// Create makes the store, empty. Drop removes it with everything in it.
	Create()
	Drop()
	// Put writes a document, replacing the one that is there.
	Put(id, document string)
	Delete(id string)
	// Open returns the store as sm-fetch opens it when it starts.
	Open(report func(problem string)) source.Store
}

// patience bounds how long a store may take to notice something.
const patience = 30 * time.Second

// Run runs the tests, each with a backend of its own, which is not created yet.
func Run(t *testing.T, start func(t *testing.T) Backend) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, b Backend)
	}{
		{"a pass hands over everything", everything},
		{"a pass continues from a position", continues},
		{"a deletion while nothing followed", deletedMeanwhile},
		{"a watch tells what happens", watches},
		{"get", get},
		{"names that no service can have", strange},
		{"what is handed over is refused", refused},
		{"a watch ends with its context", ends},
		{"there is no store", missing},
		{"a store that was made again has deleted nothing", madeAgain},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.do(t, start(t))
		})
	}
	t.Run("names tell stores apart", func(t *testing.T) {
		a, b := start(t), start(t)
		if one := open(t, a).Name(); one == "" || one != open(t, a).Name() || one == open(t, b).Name() {
			t.Errorf("a store is called %q, and another %q", one, open(t, b).Name())
		}
	})
}

// define returns a document that is identified by its image.
func define(image string) string {
	return fmt.Sprintf(`{"image": %q, "address": "172.17.0.1:7001", "port": 80}`, image)
}

// seen is what a store last delivered for each service: the image of its document, or
// "deleted".
type seen map[name.Service]string

func (s seen) take(c source.Change) error {
	if c.Deleted {
		s[c.Service] = "deleted"
		return nil
	}
	var document struct{ Image string }
	if err := json.Unmarshal(c.Document, &document); err != nil {
		return fmt.Errorf("%s: %w", c.Service, err)
	}
	s[c.Service] = document.Image
	return nil
}

func open(t *testing.T, b Backend) source.Store {
	return b.Open(func(problem string) { t.Errorf("the store reports: %s", problem) })
}

func pass(t *testing.T, s source.Store, from source.Position, had ...name.Service) (source.Snapshot, seen) {
	t.Helper()
	got := make(seen)
	snapshot, err := s.Pass(t.Context(), from, had, got.take)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot, got
}

func everything(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	b.Put("api", define("api:1"))
	b.Put("gone", define("gone:1"))
	b.Delete("gone")
	snapshot, got := pass(t, open(t, b), source.Position{})
	if got["web"] != "nginx:1" || got["api"] != "api:1" {
		t.Errorf("handed over %v", got)
	}
	if len(snapshot.Present) != 2 || !snapshot.Present["web"] || !snapshot.Present["api"] {
		t.Errorf("%v are present, want web and api", snapshot.Present)
	}
	if snapshot.New || snapshot.Waiting {
		t.Errorf("the snapshot is %+v", snapshot)
	}
}

// Also in the next process.
func continues(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	b.Put("api", define("api:1"))
	first, _ := pass(t, open(t, b), source.Position{})
	b.Put("web", define("nginx:2"))
	b.Put("new", define("new:1"))
	second, got := pass(t, open(t, b), first.Position, "api", "web")
	if got["web"] != "nginx:2" || got["new"] != "new:1" || got["api"] == "deleted" {
		t.Errorf("handed over %v", got)
	}
	if second.New {
		t.Error("the store is taken for another one")
	}
}

func deletedMeanwhile(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	b.Put("api", define("api:1"))
	first, _ := pass(t, open(t, b), source.Position{})
	b.Delete("web")
	_, got := pass(t, open(t, b), first.Position, "api", "web")
	if got["web"] != "deleted" || got["api"] == "deleted" {
		t.Errorf("handed over %v", got)
	}
}

// watching collects what a watch hands over.
type watching struct {
	mu   sync.Mutex
	got  seen
	more chan struct{}
	end  chan error
}

func watch(ctx context.Context, s source.Store, from source.Position) *watching {
	w := &watching{got: make(seen), more: make(chan struct{}, 1), end: make(chan error, 1)}
	go func() {
		w.end <- s.Watch(ctx, from, func(c source.Change, _ source.Position) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
			return w.got.take(c)
		})
	}()
	return w
}

// await waits until the store has delivered that for a service.
func (w *watching) await(t *testing.T, service name.Service, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		got := w.got[service]
		w.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-w.more:
		case err := <-w.end:
			t.Fatalf("the watch ended: %v", err)
		case <-late:
			t.Fatalf("%s is %q after %v, want %q", service, got, patience, want)
		}
	}
}

func watches(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	s := open(t, b)
	snapshot, _ := pass(t, s, source.Position{})
	// Between the pass and the watch.
	b.Put("web", define("nginx:2"))
	w := watch(t.Context(), s, snapshot.Position)
	w.await(t, "web", "nginx:2")
	b.Put("web", define("nginx:3"))
	w.await(t, "web", "nginx:3")
	b.Put("api", define("api:1"))
	w.await(t, "api", "api:1")
	b.Delete("web")
	w.await(t, "web", "deleted")
	b.Put("web", define("nginx:4"))
	w.await(t, "web", "nginx:4")
}

func get(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	b.Put("gone", define("gone:1"))
	b.Delete("gone")
	s := open(t, b)
	pass(t, s, source.Position{})
	b.Put("web", define("nginx:2"))
	got := make(seen)
	for _, service := range []name.Service{"web", "gone", "never"} {
		c, err := s.Get(t.Context(), service)
		if err == nil {
			err = got.take(c)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if got["web"] != "nginx:2" || got["gone"] != "deleted" || got["never"] != "deleted" {
		t.Errorf("got %v", got)
	}
}

func strange(t *testing.T, b Backend) {
	b.Create()
	b.Put("Not_A_Service", define("nginx:1"))
	b.Put("manager", define("nginx:1"))
	b.Put("web", define("nginx:1"))
	var reports []string
	s := b.Open(func(problem string) { reports = append(reports, problem) })
	for range 2 {
		snapshot, got := pass(t, s, source.Position{})
		if len(got) != 1 || len(snapshot.Present) != 1 || !snapshot.Present["web"] {
			t.Errorf("handed over %v, %v are present; want web", got, snapshot.Present)
		}
	}
	told := strings.Join(reports, "\n")
	if len(reports) != 2 || !strings.Contains(told, "Not_A_Service") || !strings.Contains(told, `must not be "manager"`) {
		t.Errorf("reported %q; want each of them once", reports)
	}
}

func refused(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	s := open(t, b)
	full := errors.New("the disk is full")
	if _, err := s.Pass(t.Context(), source.Position{}, nil, func(source.Change) error { return full }); !errors.Is(err, full) {
		t.Errorf("Pass = %v, want %v", err, full)
	}
	// What was refused is handed over again.
	snapshot, got := pass(t, s, source.Position{})
	if got["web"] != "nginx:1" {
		t.Errorf("handed over %v", got)
	}
	end := make(chan error, 1)
	go func() {
		end <- s.Watch(t.Context(), snapshot.Position, func(source.Change, source.Position) error { return full })
	}()
	b.Put("web", define("nginx:2"))
	select {
	case err := <-end:
		if !errors.Is(err, full) {
			t.Errorf("Watch = %v, want %v", err, full)
		}
	case <-time.After(patience):
		t.Error("the watch does not end")
	}
}

func ends(t *testing.T, b Backend) {
	b.Create()
	s := open(t, b)
	snapshot, _ := pass(t, s, source.Position{})
	ctx, cancel := context.WithCancelCause(t.Context())
	w := watch(ctx, s, snapshot.Position)
	why := errors.New("enough")
	cancel(why)
	select {
	case err := <-w.end:
		if !errors.Is(err, why) {
			t.Errorf("Watch = %v, want %v", err, why)
		}
	case <-time.After(patience):
		t.Error("the watch does not end")
	}
}

// isMissing reports whether a pass has found that there is no store.
func isMissing(t *testing.T, s source.Store, from source.Position) bool {
	t.Helper()
	snapshot, err := s.Pass(t.Context(), from, []name.Service{"web"}, func(c source.Change) error {
		t.Errorf("handed over %+v", c)
		return nil
	})
	if err != nil && !errors.Is(err, source.ErrMissing) {
		t.Errorf("Pass = %v, want %v", err, source.ErrMissing)
	}
	return err != nil || snapshot.Waiting
}

func missing(t *testing.T, b Backend) {
	s := open(t, b)
	if !isMissing(t, s, source.Position{}) {
		t.Error("a store is there")
	}
	b.Create()
	b.Put("web", define("nginx:1"))
	if _, got := pass(t, s, source.Position{}); got["web"] != "nginx:1" {
		t.Errorf("handed over %v", got)
	}
}

func madeAgain(t *testing.T, b Backend) {
	b.Create()
	b.Put("web", define("nginx:1"))
	s := open(t, b)
	first, _ := pass(t, s, source.Position{})
	b.Drop()
	if !isMissing(t, s, first.Position) {
		t.Error("the store is still there")
	}
	b.Create()
	b.Put("api", define("api:1"))
	snapshot, got := pass(t, open(t, b), first.Position, "web")
	if got["web"] != "" || got["api"] != "api:1" || snapshot.Present["web"] || !snapshot.Present["api"] {
		t.Errorf("handed over %v; %v are present", got, snapshot.Present)
	}
}
