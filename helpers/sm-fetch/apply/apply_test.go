package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/revision"
)

const (
	first  = `{"image": "nginx:1", "address": "172.17.0.1:7001", "port": 80}`
	second = `{"image": "nginx:2", "address": "172.17.0.1:7001", "port": 80}`
)

type lines struct {
	mu    sync.Mutex
	lines []string
}

func (l *lines) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}
func (l *lines) Info(format string, args ...any)    { l.add(format, args...) }
func (l *lines) Warning(format string, args ...any) { l.add(format, args...) }
func (l *lines) Error(format string, args ...any)   { l.add(format, args...) }

func newApplier(t *testing.T) *Applier {
	dir := t.TempDir()
	return &Applier{
		Revisions: revision.Store{Root: filepath.Join(dir, "revisions"), Run: filepath.Join(dir, "run"), Known: new(revision.Known)},
		Stop:      func(context.Context, name.Service) error { return nil },
		Reload:    func(context.Context) error { return nil },
		Forget:    func(context.Context, name.Service) error { return nil },
		Busy:      func(context.Context, name.Service) ([]name.Rev, error) { return nil, nil },
		Retry:     time.Millisecond,
		Log:       &lines{},
	}
}

func (a *Applier) must(t *testing.T, c source.Change) name.Rev {
	t.Helper()
	if err := a.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	current, err := a.Revisions.Current(c.Service)
	if err != nil {
		t.Fatal(err)
	}
	return current
}

func digestOf(t *testing.T, document string) string {
	t.Helper()
	draft, err := parseDraft([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	d, err := draft.digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// file is a change in a store that names no revisions.
func file(document string) source.Change {
	return source.Change{Service: "web", Document: []byte(document)}
}

func TestNames(t *testing.T) {
	a := newApplier(t)
	for _, step := range []struct{ document, want string }{
		{first, "1-" + digestOf(t, first)},
		{strings.ReplaceAll(first, " ", "\n"), "1-" + digestOf(t, first)},
		{second, "2-" + digestOf(t, second)},
		{`{"image": 7}`, "2-" + digestOf(t, second)},
		{`{"image": `, "2-" + digestOf(t, second)},
		{first, "3-" + digestOf(t, first)},
	} {
		if got := a.must(t, file(step.document)); string(got) != step.want {
			t.Errorf("%s: current is %s, want %s", step.document, got, step.want)
		}
	}
	names, err := a.Revisions.Revisions("web")
	if err != nil || len(names) != 3 {
		t.Errorf("on disk are %v, %v; want three", names, err)
	}
}

// What was damaged on disk is written again.
func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, s revision.Store, current name.Revision) error
		want   string
	}{
		{"truncated revision", func(_ *testing.T, s revision.Store, current name.Revision) error {
			return os.Truncate(s.Path(current), 10)
		}, "1-" + digestOf(t, first)},
		{"revision gone", func(_ *testing.T, s revision.Store, current name.Revision) error {
			return os.Remove(s.Path(current))
		}, "1-" + digestOf(t, first)},
		{"link gone", func(_ *testing.T, s revision.Store, _ name.Revision) error {
			return os.Remove(filepath.Join(s.Root, "web", "current"))
		}, "2-" + digestOf(t, first)},
		{"link to nonsense", func(_ *testing.T, s revision.Store, _ name.Revision) error {
			link := filepath.Join(s.Root, "web", "current")
			return errors.Join(os.Remove(link), os.Symlink("/etc/passwd", link))
		}, "2-" + digestOf(t, first)},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newApplier(t)
			web := name.Service("web")
			current := web.Revision(a.must(t, file(first)))
			if err := test.damage(t, a.Revisions, current); err != nil {
				t.Fatal(err)
			}
			want := name.Rev(test.want)
			if got := a.must(t, file(first)); got != want {
				t.Errorf("current is %s, want %s", got, want)
			}
			if _, err := a.Revisions.Read(web.Revision(want)); err != nil {
				t.Error(err)
			}
		})
	}
}

// The winner counts, not the generation, and an invalid winner changes nothing.
func TestNamedRevisions(t *testing.T) {
	a := newApplier(t)
	const rev1, rev2, rev3 = "1-11111111111111111111111111111111", "2-22222222222222222222222222222222", "3-33333333333333333333333333333333"
	change := func(rev, document string) source.Change {
		return source.Change{Service: "web", Rev: rev, Document: []byte(document)}
	}
	for _, step := range []struct{ rev, document, want string }{
		{rev2, first, rev2},
		{rev2, first, rev2},
		{rev3, `{}`, rev2},
		{rev3, `{}`, rev2},
		{rev1, second, rev1},
		{rev2, first, rev2},
	} {
		if got := a.must(t, change(step.rev, step.document)); string(got) != step.want {
			t.Errorf("%s: current is %s, want %s", step.rev, got, step.want)
		}
	}
	told := 0
	for _, line := range a.Log.(*lines).lines {
		if strings.HasPrefix(line, "web "+rev3+": image: is missing") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the invalid revision was told %d times", told)
	}
}

// While a service stops, only the newest change to it counts.
func TestChangesDuringRemoval(t *testing.T) {
	gone := source.Change{Service: "web", Deleted: true}
	for _, test := range []struct {
		name    string
		changes []source.Change
		want    string
	}{
		{"nothing", nil, ""},
		{"a new one", []source.Change{file(first)}, "1-" + digestOf(t, first)},
		{"two new ones", []source.Change{file(first), file(second)}, "1-" + digestOf(t, second)},
		{"a new one, deleted again", []source.Change{file(first), gone}, ""},
		{"deleted twice, then a new one", []source.Change{gone, file(second)}, "1-" + digestOf(t, second)},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newApplier(t)
			stopping, stop := make(chan struct{}), make(chan struct{})
			failures := 2 // systemd does not answer at first
			a.Stop = func(context.Context, name.Service) error {
				if failures > 0 {
					failures--
					return errors.New("no answer")
				}
				close(stopping)
				<-stop
				return nil
			}
			a.must(t, file(second))
			a.must(t, file(first))
			a.must(t, gone)
			<-stopping
			for _, c := range test.changes {
				a.must(t, c)
			}
			settled := make(chan struct{})
			if a.Unsettled(func() { close(settled) }) == nil {
				t.Error("a removal continues and is not told")
			}
			close(stop)
			<-settled
			if got, _ := a.Revisions.Current("web"); string(got) != test.want {
				t.Errorf("current is %q, want %q", got, test.want)
			}
			if a.Unsettled(nil) != nil {
				t.Error("no removal continues, and one is told")
			}
			if err := a.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A service is deleted again after what had waited was applied.
func TestDeletedAfterRemoval(t *testing.T) {
	a := newApplier(t)
	a.must(t, file(first))
	for range 3 {
		a.must(t, source.Change{Service: "web", Deleted: true})
		if err := a.Wait(); err != nil {
			t.Fatal(err)
		}
		if string(a.must(t, file(second))) != "1-"+digestOf(t, second) {
			t.Error("the service is not a new one")
		}
	}
	a.must(t, source.Change{Service: "web", Deleted: true})
	a.must(t, source.Change{Service: "never", Deleted: true})
	a.must(t, source.Change{Service: "../../etc", Deleted: true})
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	if left, err := a.Revisions.Services(); len(left) > 0 || err != nil {
		t.Errorf("%v are left, %v", left, err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add("web", "", []byte(first))
	f.Add("web", "2-22222222222222222222222222222222", []byte(second))
	f.Add("web", "../../y", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, rev string, document []byte) {
		service, err := name.ParseService(id)
		if err != nil {
			return // a store delivers none of these
		}
		a := newApplier(t)
		if err := a.Apply(t.Context(), source.Change{Service: service, Rev: rev, Document: document}); err != nil {
			t.Fatal(err)
		}
		// Nothing is outside the folder of the revisions, and what is inside is valid.
		outside, err := os.ReadDir(filepath.Dir(a.Revisions.Root))
		if err != nil || len(outside) > 1 {
			t.Fatalf("got %v, %v", outside, err)
		}
		states, err := a.Revisions.States()
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range states {
			if state.Current == "" || state.Service != service {
				t.Errorf("got %+v", state)
			}
		}
		// The generator, which knows nothing, reads the same.
		parsed, err := revision.Store{Root: a.Revisions.Root, Run: a.Revisions.Run}.States()
		if err != nil || !reflect.DeepEqual(parsed, states) {
			t.Errorf("known are %+v, on disk %+v, %v", states, parsed, err)
		}
	})
}

// The trouble of one service delays no other, and is over when it is over.
func TestTroubleOfOneService(t *testing.T) {
	hold := func(t *testing.T, a *Applier) (mend func()) {
		unlock, err := a.Revisions.Lock(t.Context(), "web", nil)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	block := func(t *testing.T, a *Applier) (mend func()) {
		path := filepath.Join(a.Revisions.Root, "web")
		if err := errors.Join(os.MkdirAll(a.Revisions.Root, 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return func() { os.Remove(path) }
	}
	for _, test := range []struct {
		name  string
		cause func(*testing.T, *Applier) func()
	}{{"lock", hold}, {"disk", block}} {
		t.Run(test.name, func(t *testing.T) {
			a := newApplier(t)
			mend := test.cause(t, a)
			a.must(t, at("api", "10.0.0.1:81"))
			if err := a.Apply(t.Context(), file(first)); err != nil {
				t.Fatal(err)
			}
			if err := a.Apply(t.Context(), file(second)); err != nil {
				t.Fatal(err)
			}
			if got := a.must(t, at("api", "10.0.0.1:82")); !strings.HasPrefix(string(got), "2-") {
				t.Error("api waits for web")
			}
			settled := make(chan struct{})
			if a.Unsettled(func() { close(settled) }) == nil {
				t.Error("a change waits, and is not told")
			}
			mend()
			<-settled
			if got, err := a.Revisions.Current("web"); err != nil || !strings.HasSuffix(string(got), digestOf(t, second)) {
				t.Errorf("current is %q, %v; want the newest", got, err)
			}
		})
	}
}
