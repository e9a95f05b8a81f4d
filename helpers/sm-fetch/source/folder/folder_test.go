package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"service-manager/helpers/internal/watch/watchtest"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

var quick = Times{Quiet: 5 * time.Millisecond, Settle: 200 * time.Millisecond, Absent: 200 * time.Millisecond, Look: time.Hour, Blind: 5 * time.Millisecond}

const (
	first  = `{"image": "nginx:1", "address": "172.17.0.1:7001", "port": 80}` + "\n"
	second = `{"image": "nginx:2", "address": "172.17.0.1:7001", "port": 80}` + "\n"
)

// watched is a folder that a Store watches.
type watched struct {
	t    *testing.T
	path string
	ends chan error

	mu       sync.Mutex
	changes  []string
	problems []string
	more     chan struct{}
}

// watchFolder makes one pass over a folder and then watches it.
func watchFolder(t *testing.T, path string) *watched {
	t.Helper()
	return watchWith(t, path, quick)
}

func watchWith(t *testing.T, path string, times Times) *watched {
	t.Helper()
	w := &watched{t: t, path: path, ends: make(chan error, 1), more: make(chan struct{}, 1000)}
	s := Open(path, times, func(problem string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.problems = append(w.problems, strings.ReplaceAll(problem, path, "FOLDER"))
	})
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.Pass(ctx, source.Position{}, nil, func(source.Change) error { return nil }); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.ends <- s.Watch(ctx, source.Position{}, func(c source.Change, _ source.Position) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			what := strings.TrimSpace(string(c.Document))
			switch {
			case c.Deleted:
				what = "deleted"
			case what == strings.TrimSpace(first):
				what = "first"
			case what == strings.TrimSpace(second):
				what = "second"
			}
			w.changes = append(w.changes, string(c.Service)+" "+what)
			w.more <- struct{}{}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

// waitFor waits until the last change is the given one.
func (w *watched) waitFor(change string) {
	w.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		found := len(w.changes) > 0 && w.changes[len(w.changes)-1] == change
		changes := cmp.Diff(nil, w.changes)
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-w.more:
		case <-timeout:
			w.t.Fatalf("%q does not come; so far:\n%s", change, changes)
		}
	}
}

func (w *watched) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.path, name), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(filepath.Join(w.path, from), filepath.Join(w.path, to)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.path, name)); err != nil {
		w.t.Fatal(err)
	}
}

func TestEdits(t *testing.T) {
	for _, test := range []struct {
		name     string
		edit     func(*watched)
		want     []string
		problems []string
	}{
		{"written in place", func(w *watched) { w.write("web.json", second) }, []string{"web second"}, nil},
		{"written in place, in two halves", func(w *watched) {
			f, err := os.Create(filepath.Join(w.path, "web.json"))
			if err != nil {
				w.t.Fatal(err)
			}
			defer f.Close()
			f.WriteString(second[:20])
			// The other half comes after the first was seen, and before it settles.
			w.write("other.json", first)
			w.waitFor("other first")
			f.WriteString(second[20:])
			w.waitFor("web second")
		}, []string{"other first", "web second"}, nil},
		{"left half written", func(w *watched) {
			w.write("web.json", second[:20])
			w.waitFor("web " + second[:20])
		}, []string{"web " + second[:20]}, nil},
		{"left empty", func(w *watched) {
			w.write("web.json", "")
			w.waitFor("web ")
		}, []string{"web "}, nil},
		{"another renamed over it", func(w *watched) {
			w.write("web.json.new", second)
			w.rename("web.json.new", "web.json")
		}, []string{"web second"}, nil},
		{"vim: moved away and written again", func(w *watched) {
			w.write("4913", "")
			w.remove("4913")
			w.write(".web.json.swp", "swap")
			w.rename("web.json", "web.json~")
			w.write("other.json", first) // what happens in between is seen
			w.waitFor("other first")
			w.write("web.json", second)
			w.remove("web.json~")
			w.remove(".web.json.swp")
		}, []string{"other first", "web second"}, nil},
		{"removed", func(w *watched) { w.remove("web.json") }, []string{"web deleted"}, nil},
		{"removed and soon there again", func(w *watched) {
			w.remove("web.json")
			w.write("other.json", first)
			w.waitFor("other first")
			w.write("web.json", second)
		}, []string{"other first", "web second"}, nil},
		{"removed and later there again", func(w *watched) {
			w.remove("web.json")
			w.waitFor("web deleted")
			w.write("web.json", second)
		}, []string{"web deleted", "web second"}, nil},
		{"two edits, one after the other", func(w *watched) {
			w.write("web.json", second)
			w.waitFor("web second")
			w.write("web.json", first)
		}, []string{"web second", "web first"}, nil},
		{"editors' own files", func(w *watched) {
			for _, name := range []string{".web.json.swp", "web.json~", "#web.json#", ".#web.json", "web.json.bak", ".goutputstream-AB12", "4913", "web.json.tmp"} {
				w.write(name, second)
			}
		}, nil, nil},
		{"a name that no service has", func(w *watched) {
			w.write("My Service.json", first)
			w.write("manager.json", first)
			w.write("manager.json", second)
		}, nil, []string{
			`FOLDER/My Service.json is ignored: the name of a service must be made of a-z, 0-9 and "-", and not begin with "-" (got "My Service")`,
			`FOLDER/manager.json is ignored: the name of a service must not be "manager", which is the word for the unit of a service as a whole`,
		}},
		{"a link", func(w *watched) {
			w.write("elsewhere", second)
			w.remove("web.json")
			if err := os.Symlink("elsewhere", filepath.Join(w.path, "web.json")); err != nil {
				w.t.Fatal(err)
			}
		}, []string{"web second"}, nil},
		{"a link to nothing", func(w *watched) {
			if err := os.Symlink("nowhere", filepath.Join(w.path, "broken.json")); err != nil {
				w.t.Fatal(err)
			}
		}, nil, []string{"broken: FOLDER/broken.json leads to nothing; the service stays as it is"}},
		{"an edit of what a link leads to", func(w *watched) {
			away := w.t.TempDir()
			target := filepath.Join(away, "target")
			if err := errors.Join(os.WriteFile(target, []byte(first), 0o644), os.Symlink(target, filepath.Join(w.path, "link.json"))); err != nil {
				w.t.Fatal(err)
			}
			w.waitFor("link first")
			// In place, and by another file of that name.
			if err := os.WriteFile(target, []byte(second), 0o644); err != nil {
				w.t.Fatal(err)
			}
			w.waitFor("link second")
			if err := errors.Join(os.WriteFile(target+".new", []byte(first), 0o644), os.Rename(target+".new", target)); err != nil {
				w.t.Fatal(err)
			}
		}, []string{"link first", "link second", "link first"}, nil},
		{"what a link leads to goes for a while", func(w *watched) {
			target := filepath.Join(w.path, "target")
			if err := errors.Join(os.WriteFile(target, []byte(first), 0o644), os.Symlink("target", filepath.Join(w.path, "link.json"))); err != nil {
				w.t.Fatal(err)
			}
			w.waitFor("link first")
			w.remove("target")
			// What is removed with it is found to be gone, and the link's service is not.
			w.write("gone.json", first)
			w.waitFor("gone first")
			w.remove("gone.json")
			w.waitFor("gone deleted")
			if err := os.WriteFile(target, []byte(second), 0o644); err != nil {
				w.t.Fatal(err)
			}
		}, []string{"link first", "gone first", "gone deleted", "link second"}, []string{"link: FOLDER/link.json leads to nothing; the service stays as it is"}},
		{"no regular file", func(w *watched) {
			if err := syscall.Mkfifo(filepath.Join(w.path, "pipe.json"), 0o644); err != nil {
				w.t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(w.path, "dir.json"), 0o755); err != nil {
				w.t.Fatal(err)
			}
		}, nil, []string{
			"dir: FOLDER/dir.json cannot be read: it is not a regular file; the service stays as it is",
			"pipe: FOLDER/pipe.json cannot be read: it is not a regular file; the service stays as it is",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "services")
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"web.json", "end.json"} {
				if err := os.WriteFile(filepath.Join(path, name), []byte(first), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w := watchFolder(t, path)
			test.edit(w)
			if len(test.want) > 0 {
				w.waitFor(test.want[len(test.want)-1])
			}
			// A file that goes is found to be gone only after everything before it has
			// been, too.
			w.remove("end.json")
			w.waitFor("end deleted")

			w.mu.Lock()
			defer w.mu.Unlock()
			if diff := cmp.Diff(append(test.want, "end deleted"), w.changes); diff != "" {
				t.Error(diff)
			}
			slices.Sort(w.problems) // two files may be seen in one look or in two
			if diff := cmp.Diff(test.problems, w.problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A folder that appears, or reappears, needs a new pass.
func TestFolderComes(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "not", "yet", "services")
	s := Open(path, quick, func(problem string) { t.Error(problem) })
	snapshot, err := s.Pass(t.Context(), source.Position{}, nil, func(source.Change) error { return nil })
	if err != nil || !snapshot.Waiting || snapshot.Present != nil {
		t.Fatalf("got %+v, %v", snapshot, err)
	}
	ends := make(chan error, 1)
	go func() {
		ends <- s.Watch(t.Context(), source.Position{}, func(c source.Change, _ source.Position) error {
			return fmt.Errorf("got %s", c.Service)
		})
	}()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; !errors.Is(err, source.ErrAgain) {
		t.Errorf("got error %v", err)
	}
	snapshot, err = s.Pass(t.Context(), source.Position{}, nil, func(source.Change) error { return nil })
	if err != nil || snapshot.Waiting || snapshot.New || len(snapshot.Present) != 0 {
		t.Errorf("got %+v, %v", snapshot, err)
	}
}

// A link that is turned to another folder changes all files at once.
func TestFolderReplaced(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "services")
	for name, content := range map[string]string{"a": first, "b": second} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "web.json"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "a", "api.json"), []byte(first), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("a", path), os.Symlink("b", path+".new")); err != nil {
		t.Fatal(err)
	}
	w := watchFolder(t, path)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	w.waitFor("api deleted")
	w.write("web.json", first) // the new folder is watched as the old one was
	w.waitFor("web first")
	if diff := cmp.Diff([]string{"web second", "api deleted", "web first"}, w.changes); diff != "" {
		t.Error(diff)
	}
}

// A link on the way to the folder is turned, which no watch on the folder sees.
func TestLinkOnTheWay(t *testing.T) {
	root := t.TempDir()
	for release, content := range map[string]string{"a": first, "b": second} {
		dir := filepath.Join(root, release, "services")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "web.json"), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	current, path := filepath.Join(root, "deploy", "current"), filepath.Join(root, "etc", "services")
	err := errors.Join(os.Mkdir(filepath.Dir(current), 0o755), os.Mkdir(filepath.Dir(path), 0o755),
		os.Symlink("../a", current), os.Symlink("../b", current+".new"), os.Symlink("../deploy/current/services", path))
	if err != nil {
		t.Fatal(err)
	}
	times := quick
	times.Look = 100 * time.Millisecond
	w := watchWith(t, path, times)
	w.write("api.json", first)
	w.waitFor("api first")
	if err := os.Rename(current+".new", current); err != nil {
		t.Fatal(err)
	}
	w.waitFor("web second")
}

// Where files cannot be watched, it finds what has changed by looking.
func TestBlind(t *testing.T) {
	watchtest.UseUp(t)
	path := t.TempDir()
	w := watchFolder(t, path)
	w.write("web.json", first)
	w.waitFor("web first")
	w.write("web.json", second)
	w.waitFor("web second")
	w.remove("web.json")
	w.waitFor("web deleted")
	w.mu.Lock()
	defer w.mu.Unlock()
	want := []string{"watch FOLDER for changes: too many open files; it is looked at again and again until that works; see fs.inotify.max_user_instances in inotify(7)"}
	if diff := cmp.Diff(want, w.problems); diff != "" {
		t.Error(diff)
	}
}

// It says so once, also when it is followed again.
func TestBlindAgain(t *testing.T) {
	watchtest.UseUp(t)
	problems := 0
	s := Open(t.TempDir(), quick, func(string) { problems++ })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := s.Pass(t.Context(), source.Position{}, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Watch(ctx, source.Position{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch = %v", err)
		}
	}
	if problems != 1 {
		t.Errorf("%d problems were reported; want one", problems)
	}
}

// A folder that goes says nothing about the services in it.
func TestFolderGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	w := watchFolder(t, path)
	w.write("web.json", first)
	w.waitFor("web first")
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	w.write("api.json", first)
	if err := <-w.ends; !errors.Is(err, source.ErrAgain) {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff([]string{"web first"}, w.changes); diff != "" {
		t.Error(diff)
	}
}

// What is missing from a folder that has replaced another one has not been removed; but
// it has where a link was turned to another folder.
func TestPassOfAnotherFolder(t *testing.T) {
	root := t.TempDir()
	path, link := filepath.Join(root, "services"), filepath.Join(root, "link")
	if err := errors.Join(os.Mkdir(path, 0o755), os.Mkdir(path+".new", 0o755), os.Symlink("services", link)); err != nil {
		t.Fatal(err)
	}
	pass := func(path string, from source.Position) source.Snapshot {
		t.Helper()
		s := Open(path, quick, func(problem string) { t.Error(problem) })
		snapshot, err := s.Pass(t.Context(), from, nil, func(source.Change) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return snapshot
	}
	before, linked := pass(path, source.Position{}), pass(link, source.Position{})
	if before.New || pass(path, before.Position).New {
		t.Error("the same folder is another one")
	}
	if err := errors.Join(os.Remove(link), os.Symlink("services.new", link)); err != nil {
		t.Fatal(err)
	}
	if pass(link, linked.Position).New {
		t.Error("a link that was turned is taken for a folder that was replaced")
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	if !pass(path, before.Position).New {
		t.Error("a folder that was recreated is taken for the one before")
	}
}

func TestPass(t *testing.T) {
	path := t.TempDir()
	for name, content := range map[string]string{
		"web.json":   first,
		"half.json":  second[:20],
		"api.json":   second,
		"large.json": "{" + strings.Repeat(" ", definition.MaxSize),
		"README":     "no definition",
	} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Open(path, quick, func(problem string) { t.Error(problem) })
	sizes := make(map[string]int)
	snapshot, err := s.Pass(t.Context(), source.Position{}, nil, func(c source.Change) error {
		sizes[string(c.Service)] += len(c.Document)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"web": len(first), "half": 20, "api": len(second), "large": definition.MaxSize + 1}
	if diff := cmp.Diff(want, sizes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[name.Service]bool{"web": true, "half": true, "api": true, "large": true}, snapshot.Present); diff != "" {
		t.Error(diff)
	}
}

// What a folder had and no longer has was removed, unless it reappears at once, or
// another folder has replaced this one.
func TestPassOfWhatItHad(t *testing.T) {
	for _, test := range []struct {
		name string
		had  []name.Service
		from string // an instance
		then func(path string) error
		want []string
	}{
		{"all is there", []name.Service{"web"}, "", nil, []string{"web"}},
		{"one is not", []name.Service{"api", "web"}, "", nil, []string{"web", "api deleted"}},
		{"one comes again", []name.Service{"api", "web"}, "", func(path string) error {
			return os.WriteFile(filepath.Join(path, "api.json"), []byte(first), 0o644)
		}, []string{"web", "api"}},
		{"another one goes meanwhile", []name.Service{"api", "web"}, "", func(path string) error {
			return os.Remove(filepath.Join(path, "web.json"))
		}, []string{"web", "api deleted", "web deleted"}},
		{"it is another folder", []name.Service{"api", "web"}, "1:1.000000000 ", nil, []string{"web"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path, "web.json"), []byte(first), 0o644); err != nil {
				t.Fatal(err)
			}
			from := source.Position{}
			if test.from != "" {
				from.Instance = test.from + path
			}
			times := quick
			times.Absent = time.Second // whatever else the processor has to do
			s := Open(path, times, func(problem string) { t.Error(problem) })
			var got []string
			snapshot, err := s.Pass(t.Context(), from, test.had, func(c source.Change) error {
				what := string(c.Service)
				if c.Deleted {
					what += " deleted"
				}
				got = append(got, what)
				if len(got) == 1 && test.then != nil {
					return test.then(path)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got) // two may go in one look
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if snapshot.New != (test.from != "") {
				t.Errorf("got %+v", snapshot)
			}
		})
	}
}
