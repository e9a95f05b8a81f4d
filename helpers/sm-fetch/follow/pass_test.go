package follow

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"service-manager/helpers/internal/notify"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/store"
	"service-manager/units/revision"
)

// looks is a store that has, look by look, these services and no others.
type looks [][]string

func (l *looks) Name() string { return "looks" }
func (l *looks) Watch(context.Context, store.Position, func(store.Change, store.Position) error) error {
	return nil
}
func (l *looks) Pass(_ context.Context, from store.Position, _ func(store.Change) error) (store.Snapshot, error) {
	present := make(map[string]bool)
	for _, service := range (*l)[0] {
		present[service] = true
	}
	if len(*l) > 1 {
		*l = (*l)[1:]
	}
	return store.Snapshot{Position: from, Present: present, Exact: true}, nil
}

type quiet struct{ *testing.T }

func (q quiet) Info(format string, args ...any)    { q.Logf(format, args...) }
func (q quiet) Warning(format string, args ...any) { q.Logf(format, args...) }
func (q quiet) Error(format string, args ...any)   { q.Errorf(format, args...) }

// What comes and goes while a pass waits whether a file comes again.
func TestStillAbsent(t *testing.T) {
	for _, test := range []struct {
		name    string
		looks   looks
		removed []string
	}{
		{"nothing is absent", looks{{"api", "db", "web"}}, nil},
		{"absent for good", looks{{"db", "web"}}, []string{"api"}},
		{"comes again", looks{{"db", "web"}, {"api", "db", "web"}}, nil},
		{"another one goes meanwhile", looks{{"db", "web"}, {"web"}}, []string{"api", "db"}},
		{"another one goes for a moment", looks{{"db", "web"}, {"web"}, {"db", "web"}}, []string{"api"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			revisions := revision.Store{Root: filepath.Join(root, "revisions"), Run: filepath.Join(root, "run")}
			const name = "1-62d4023616ab1e7921f74f650aab51e1"
			for _, service := range []string{"api", "db", "web"} {
				if err := revisions.Save(service, name, []byte(`{"image":"a","address":"10.0.0.1:80","port":80}`)); err != nil {
					t.Fatal(err)
				}
				if err := revisions.SetCurrent(service, name); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.WriteState(revisions.Root, store.State{Store: "looks"}); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var removed []string
			f := &Follower{
				Store: &test.looks,
				Applier: &apply.Applier{
					Revisions: revisions,
					Stop: func(_ context.Context, service string) error {
						mu.Lock()
						defer mu.Unlock()
						removed = append(removed, service)
						return nil
					},
					Reload: func(context.Context) error { return nil },
					Forget: func(context.Context, string) error { return nil },
					Log:    quiet{t},
				},
				Revisions: revisions.Root, Log: quiet{t}, Notify: notify.Notifier{},
				Times: Times{Grace: time.Millisecond},
			}
			if err := f.Once(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			slices.Sort(removed)
			if !slices.Equal(removed, test.removed) {
				t.Errorf("removed %q, want %q", removed, test.removed)
			}
		})
	}
}
