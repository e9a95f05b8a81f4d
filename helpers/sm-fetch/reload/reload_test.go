package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"service-manager/helpers/internal/watch/watchtest"
	"service-manager/units"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// host is a folder that decides what the generator writes: one unit for each
// service's folder, with the content of its link "current".
type host struct {
	t          *testing.T
	root       string
	generated  string
	mu         sync.Mutex
	reloads    int
	fail       error
	idle       bool   // the generator does not run
	meanwhile  func() // happens in the next reload, after the generator has run
	times      Times
	log        []string
	warnings   []string
	comparison chan struct{}
}

func newHost(t *testing.T) *host {
	dir := t.TempDir()
	return &host{t: t, root: filepath.Join(dir, "revisions"), generated: filepath.Join(dir, "generator"), comparison: make(chan struct{}, 1000),
		times: Times{Quiet: 50 * time.Millisecond, Burst: time.Second, Retry: 20 * time.Millisecond, Later: time.Hour, Look: time.Hour}}
}

func (h *host) reloader() *Reloader {
	return &Reloader{
		Wanted:    h.wanted,
		Generated: h.generated,
		Reload:    h.reload,
		Roots:     []string{h.root},
		Log:       h,
		Times:     h.times,
	}
}

func (h *host) wanted() ([]units.File, error) {
	select {
	case h.comparison <- struct{}{}:
	default:
	}
	var files []units.File
	links, _ := filepath.Glob(filepath.Join(h.root, "*", "current"))
	for _, link := range links {
		manager := filepath.Base(filepath.Dir(link)) + "@manager.service"
		target, err := os.Readlink(link)
		if err != nil {
			return nil, err
		}
		files = append(files,
			units.File{Path: manager, Content: []byte(units.Header + "\n# " + target + "\n")},
			units.File{Path: filepath.Join("wants", manager), Target: "../" + manager})
	}
	return files, nil
}

func (h *host) reload(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	h.reloads++
	if h.idle {
		return nil
	}
	files, err := h.wanted()
	err = errors.Join(err, os.RemoveAll(h.generated))
	for _, file := range files {
		path := filepath.Join(h.generated, file.Path)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755))
		if file.Target != "" {
			err = errors.Join(err, os.Symlink(file.Target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, file.Content, 0o644))
		}
	}
	if h.meanwhile != nil {
		h.meanwhile()
		h.meanwhile = nil
	}
	return err
}

func (h *host) Info(format string, args ...any) { h.Error(format, args...) }
func (h *host) Warning(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warnings = append(h.warnings, fmt.Sprintf(format, args...))
}
func (h *host) Error(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *host) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *host) run() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.reloader().Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
}

func (h *host) link(service, revision string) {
	h.t.Helper()
	dir := filepath.Join(h.root, service)
	temp := filepath.Join(dir, ".tmp")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(revision, temp), os.Rename(temp, filepath.Join(dir, "current")))
	if err != nil {
		h.t.Fatal(err)
	}
}

// generatedHas waits until the generator's unit of a service is about a revision.
func (h *host) generatedHas(service, revision string) {
	h.t.Helper()
	h.eventually(service+" "+revision, func() bool {
		content, _ := os.ReadFile(filepath.Join(h.generated, service+"@manager.service"))
		return strings.HasSuffix(string(content), "# "+revision+"\n")
	})
}

func (h *host) eventually(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: does not come true; log: %v", what, h.log)
		}
	}
}

// compares waits for the next comparison, which anything that may matter causes.
func (h *host) compares() {
	h.t.Helper()
	select {
	case <-h.comparison:
	case <-time.After(20 * time.Second):
		h.t.Fatal("nothing is compared")
	}
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reloads
}

func (h *host) drain() {
	for {
		select {
		case <-h.comparison:
		default:
			return
		}
	}
}

func TestReload(t *testing.T) {
	h := newHost(t)
	h.link("web", "1")
	// Changes during a reload cause one more, however many they are.
	h.meanwhile = func() {
		for i := range 20 {
			h.link(fmt.Sprintf("s%d", i), "1")
			h.link("web", fmt.Sprint(i+2))
		}
	}
	h.run()
	h.generatedHas("web", "21")
	h.generatedHas("s19", "1")
	if n := h.count(); n != 2 {
		t.Errorf("the units at the start and 40 changes became %d reloads", n)
	}

	// What changes no unit causes none.
	before := h.count()
	h.drain()
	if err := os.WriteFile(filepath.Join(h.root, "web", "1-62d.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.compares()
	h.link("web", "21")
	h.compares()
	h.drain()
	if err := (revision.Store{Root: h.root}).SetScale(name.Service("web").Revision("1-62d"), revision.Scale{Replicas: 2, By: "2-9ab"}); err != nil {
		t.Fatal(err)
	}
	h.compares()
	// Nor does the unit of a runner that is no longer wanted.
	if err := os.WriteFile(filepath.Join(h.generated, "web@1-62d.service"), []byte(units.Header+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Nor another generator's.
	if err := os.WriteFile(filepath.Join(h.generated, "other@manager.service"), []byte("# Generated by another\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.drain()
	h.link("web", "21")
	h.compares()
	h.link("web", "22")
	h.generatedHas("web", "22")
	if n := h.count(); n != before+1 {
		t.Errorf("one change of a unit became %d reloads", n-before)
	}

	// A service that goes takes its manager with it.
	if err := os.RemoveAll(filepath.Join(h.root, "s3")); err != nil {
		t.Fatal(err)
	}
	h.eventually("s3 is gone", func() bool {
		_, err := os.Stat(filepath.Join(h.generated, "s3@manager.service"))
		return errors.Is(err, os.ErrNotExist)
	})
}

// A burst of changes ends when none has come for a while, or else at some time.
func TestQuiet(t *testing.T) {
	for _, test := range []struct {
		name  string
		fires time.Duration
		want  bool
	}{{"quiet", time.Second, true}, {"burst", time.Minute, true}, {"stopped", 0, false}} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			changed := make(chan struct{})
			var mu sync.Mutex
			timers := make(map[time.Duration][]chan time.Time)
			after := func(d time.Duration) <-chan time.Time {
				mu.Lock()
				defer mu.Unlock()
				timer := make(chan time.Time, 1)
				timers[d] = append(timers[d], timer)
				return timer
			}
			r := &Reloader{Times: Times{Quiet: time.Second, Burst: time.Minute}}
			ended := make(chan bool)
			go func() { ended <- r.quiet(ctx, changed, after) }()
			for range 40 {
				changed <- struct{}{}
			}
			mu.Lock()
			if n := len(timers[time.Minute]); n != 1 {
				t.Errorf("a burst has %d ends", n)
			}
			// The timer of the last change may be still to come.
			if n := len(timers[time.Second]); n < 40 {
				t.Errorf("40 changes began the quiet time %d times", n)
			}
			mu.Unlock()
			if test.fires == 0 {
				cancel()
			}
			for {
				mu.Lock()
				if all := timers[test.fires]; len(all) > 0 {
					select {
					case all[len(all)-1] <- time.Time{}:
					default:
					}
				}
				mu.Unlock()
				select {
				case got := <-ended:
					if got != test.want {
						t.Errorf("got %v, want %v", got, test.want)
					}
					cancel()
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
}

// A reload that does not help is not repeated for ever, and reported once.
func TestReloadDoesNotHelp(t *testing.T) {
	h := newHost(t)
	h.idle = true
	h.link("web", "1")
	h.run()
	h.eventually("a report", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.log) == 1 })
	if !strings.Contains(h.log[0], "web@manager.service is not what the generator would write") {
		t.Errorf("got %q", h.log[0])
	}
	if n := h.count(); n != 1 {
		t.Errorf("systemd was reloaded %d times", n)
	}
	h.set(func() { h.idle = false })
	h.link("web", "2")
	h.generatedHas("web", "2")
}

// What kept the generator from writing, such as a full disk, may end by itself. The log has
// two lines of it, however often it was tried.
func TestReloadHelpsLater(t *testing.T) {
	h := newHost(t)
	h.idle, h.times.Later = true, 20*time.Millisecond
	h.link("web", "1")
	h.run()
	h.eventually("a third try", func() bool { return h.count() > 2 })
	h.set(func() { h.idle = false })
	h.generatedHas("web", "1")
	h.eventually("the end of it", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.log) == 2 })
	if !regexp.MustCompile(`again, after \d+ failed attempts$`).MatchString(h.log[1]) {
		t.Errorf("got %q", h.log)
	}
}

// A generator that failed in a reload of another program's has left units out.
func TestUnitsAreLost(t *testing.T) {
	h := newHost(t)
	h.times.Later = 20 * time.Millisecond
	h.generated = filepath.Join(t.TempDir(), "generator") // its parent is not watched
	h.link("web", "1")
	h.run()
	h.generatedHas("web", "1")
	if err := os.RemoveAll(h.generated); err != nil {
		t.Fatal(err)
	}
	h.generatedHas("web", "1")
}

// What changes during a reload needs another one, which is nothing to report.
func TestChangeDuringAReload(t *testing.T) {
	h := newHost(t)
	h.link("web", "1")
	h.meanwhile = func() { h.link("web", "2") }
	if err := h.reloader().Now(t.Context()); err != nil {
		t.Error(err)
	}
	h.generatedHas("web", "2")
	if n := h.count(); n != 2 {
		t.Errorf("systemd was reloaded %d times", n)
	}
}

// Where folders cannot be watched, it compares every so often.
func TestRunBlind(t *testing.T) {
	watchtest.UseUp(t)
	h := newHost(t)
	h.times.Look = 10 * time.Millisecond
	h.link("web", "1")
	h.run()
	h.generatedHas("web", "1")
	h.link("web", "2")
	h.generatedHas("web", "2")
	h.link("api", "1")
	h.generatedHas("api", "1")
	h.set(func() {
		if len(h.warnings) != 1 || !strings.HasPrefix(h.warnings[0], "watch "+h.root+" for changes: too many open files; ") {
			t.Errorf("it warned %q", h.warnings)
		}
	})
}

// A reload that fails is repeated.
func TestReloadFails(t *testing.T) {
	h := newHost(t)
	h.fail = errors.New("no systemd here")
	h.link("web", "1")
	h.run()
	h.eventually("a report", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.log) == 1 })
	h.set(func() { h.fail = nil })
	h.generatedHas("web", "1")
	h.eventually("the end of it", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.log) == 2 })
}

// A folder may be created at the moment in which the watch of its parent begins.
func TestFolderThatIsNewAtTheStart(t *testing.T) {
	for i := range 40 {
		// Each ends before the next begins: hosts limit how many may watch.
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := newHost(t)
			h.times.Quiet = time.Millisecond
			if err := os.Mkdir(h.root, 0o755); err != nil {
				t.Fatal(err)
			}
			h.run()
			for end := time.Now().Add(time.Duration(i) * 12 * time.Microsecond); time.Now().Before(end); {
			}
			if err := os.Mkdir(filepath.Join(h.root, "web"), 0o755); err != nil {
				t.Fatal(err)
			}
			h.compares()
			h.link("web", "one")
			h.generatedHas("web", "one")
		})
	}
}
