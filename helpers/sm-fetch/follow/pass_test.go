package follow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"service-manager/helpers/internal/notify"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// rev returns a revision; document one that is valid.
func rev(generation int) string { return fmt.Sprintf("%d-%032x", generation, generation) }

func document(service name.Service) []byte {
	last := 1
	for _, c := range service {
		last = (last*31 + int(c)) % 250
	}
	return fmt.Appendf(nil, `{"image":"nginx:1","address":"10.0.0.%d:80","port":80}`, last+1)
}

func has(service name.Service, generation int) source.Change {
	c := source.Change{Service: service, Document: document(service)}
	if generation > 0 {
		c.Rev = rev(generation)
	}
	return c
}

func deleted(service name.Service, generation int) source.Change {
	c := source.Change{Service: service, Deleted: true}
	if generation > 0 {
		c.Rev = rev(generation)
	}
	return c
}

// look is what a store delivers in one Pass.
type look struct {
	changes  []source.Change
	err      error // after the changes
	snapshot source.Snapshot
	during   func()
}

// fakeStore delivers look after look, the last one again and again, and then, while it is
// watched, its feed.
type fakeStore struct {
	mu    sync.Mutex
	looks []look
	had   [][]name.Service
	froms []source.Position
	is    map[name.Service]source.Change // for Get
	feed  []source.Change
	lost  error // what ends Watch; nil: it waits
	told  chan struct{}
}

func (f *fakeStore) Name() string { return "STORE" }

func (f *fakeStore) Pass(ctx context.Context, from source.Position, had []name.Service, handle func(source.Change) error) (source.Snapshot, error) {
	f.mu.Lock()
	is := f.looks[0]
	if len(f.looks) > 1 {
		f.looks = f.looks[1:]
	}
	f.had = append(f.had, had)
	f.froms = append(f.froms, from)
	f.mu.Unlock()
	for _, c := range is.changes {
		if err := handle(c); err != nil {
			return source.Snapshot{}, err
		}
	}
	if is.during != nil {
		is.during()
	}
	if is.err != nil {
		return is.snapshot, is.err
	}
	return is.snapshot, context.Cause(ctx)
}

func (f *fakeStore) Watch(ctx context.Context, from source.Position, handle func(source.Change, source.Position) error) error {
	for i, c := range f.feed {
		if err := handle(c, source.Position{Since: source.Since(fmt.Sprint(100 + i)), Instance: from.Instance}); err != nil {
			return err
		}
	}
	if f.told != nil {
		close(f.told)
	}
	if f.lost != nil {
		return f.lost
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeStore) Get(_ context.Context, service name.Service) (source.Change, error) {
	if c, ok := f.is[service]; ok {
		return c, nil
	}
	return source.Change{Service: service, Deleted: true}, nil
}

// host is where a Follower works.
type host struct {
	t         *testing.T
	revisions revision.Store
	follower  *Follower
	stop      func(ctx context.Context, service name.Service) error

	mu      sync.Mutex
	removed []name.Service
	lines   []string
	notes   []string
}

func (h *host) Info(string, ...any) {}
func (h *host) Warning(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}
func (h *host) Error(format string, args ...any) { h.Warning(format, args...) }

func newHost(t *testing.T, s source.Store, retry time.Duration) *host {
	root := t.TempDir()
	h := &host{t: t, revisions: revision.Store{Root: filepath.Join(root, "revisions"), Run: filepath.Join(root, "run")}}
	h.follower = &Follower{
		Store: s,
		Applier: &apply.Applier{
			Revisions: h.revisions,
			Stop: func(ctx context.Context, service name.Service) error {
				h.mu.Lock()
				h.removed = append(h.removed, service)
				h.mu.Unlock()
				if h.stop != nil {
					return h.stop(ctx, service)
				}
				return nil
			},
			Reload: func(context.Context) error { return nil },
			Forget: func(context.Context, name.Service) error { return nil },
			Retry:  retry,
			Log:    h,
		},
		Revisions: h.revisions.Root,
		Log:       h,
		Notify: notify.To(func(state string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.notes = append(h.notes, state)
		}),
		Times: Times{FirstPause: time.Millisecond, LastPause: 2 * time.Millisecond, Start: time.Hour, Write: time.Millisecond},
	}
	return h
}

// save puts a revision on disk, current.
func (h *host) save(service name.Service, rev string) {
	h.t.Helper()
	r := service.Revision(name.Rev(rev))
	if err := errors.Join(h.revisions.Save(r, document(service)), h.revisions.SetCurrent(r)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) write(state State) {
	h.t.Helper()
	if err := WriteState(h.revisions.Root, state); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) state() State {
	h.t.Helper()
	state, err := ReadState(h.revisions.Root)
	if err != nil {
		h.t.Fatal(err)
	}
	return state
}

func (h *host) eventually(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("%s: does not come true; told %q, notified %q", what, h.lines, h.notes)
		}
	}
}

func (h *host) noted(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.notes, func(note string) bool { return strings.Contains(note, text) })
}

const stays = "does not have it; it stays as it is"

// transition is what becomes of the service web, of which revision 3 is current
// unless said otherwise.
type transition struct {
	name  string
	word  *Word // what the store has said of it
	fresh bool  // nothing of it is on disk
	is    *source.Change
	want  *Word
	// after that
	current string
	removed bool
	kept    bool // and that was told
}

func (test transition) check(t *testing.T, h *host) {
	t.Helper()
	var got *Word
	if word, ok := h.state().Services["web"]; ok {
		got = &word
	}
	if diff := cmp.Diff(test.want, got); diff != "" {
		t.Errorf("the store's last word: %s", diff)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if removed := len(h.removed) > 0; removed != test.removed {
		t.Errorf("removed: %v", h.removed)
	}
	if kept := strings.Count(strings.Join(h.lines, "\n"), stays); kept > 1 || kept > 0 != test.kept {
		t.Errorf("told %q", h.lines)
	}
	if current, _ := h.revisions.Current("web"); string(current) != test.current {
		t.Errorf("%q is current, want %q", current, test.current)
	}
}

func (test transition) host(t *testing.T, s *fakeStore, retry time.Duration) *host {
	h := newHost(t, s, retry)
	if !test.fresh {
		h.save("web", rev(3))
	}
	state := State{Store: "STORE", Position: source.Position{Since: "7", Instance: "one"}, Services: map[name.Service]Word{}}
	if test.word != nil {
		state.Services["web"] = *test.word
	}
	h.write(state)
	s.is = make(map[name.Service]source.Change)
	if test.is != nil {
		s.is["web"] = *test.is
	}
	return h
}

func word(generation int) *Word {
	if generation == 0 {
		return &Word{}
	}
	return &Word{Rev: name.Rev(rev(generation))}
}

func ref(c source.Change) *source.Change { return &c }

// What a pass does with a service, whatever was known of it.
func TestPassTransitions(t *testing.T) {
	lacks := &Word{Lacks: true}
	all := func(services ...name.Service) map[name.Service]bool {
		present := make(map[name.Service]bool)
		for _, service := range services {
			present[service] = true
		}
		return present
	}
	some := source.Snapshot{Position: source.Position{Since: "8", Instance: "one"}}
	with, without := some, some
	with.Present, without.Present = all("web"), all()
	newWith, newWithout := with, without
	newWith.New, newWithout.New = true, true
	newWith.Instance, newWithout.Instance = "two", "two"

	for _, test := range []struct {
		transition
		changes  []source.Change
		snapshot source.Snapshot
	}{
		// A pass that sees only changes.
		{transition{name: "nothing has changed", word: word(3), want: word(3), current: rev(3)}, nil, some},
		{transition{name: "a newer revision", word: word(3), want: word(4), current: rev(4)}, []source.Change{has("web", 4)}, some},
		{transition{name: "the first revision", fresh: true, want: word(1), current: rev(1)}, []source.Change{has("web", 1)}, some},
		{transition{name: "an older one, and it is the winner", word: word(3), is: ref(has("web", 2)), want: word(2), current: rev(2)},
			[]source.Change{has("web", 2)}, some},
		{transition{name: "an older one, since the feed rewinds", word: word(3), is: ref(has("web", 3)), want: word(3), current: rev(3)},
			[]source.Change{has("web", 2)}, some},
		{transition{name: "an older one, then the newest", word: word(3), is: ref(has("web", 3)), want: word(3), current: rev(3)},
			[]source.Change{has("web", 2), has("web", 3)}, some},
		{transition{name: "a deletion", word: word(3), removed: true}, []source.Change{deleted("web", 4)}, some},
		{transition{name: "a deletion that names no revision", word: word(0), removed: true}, []source.Change{deleted("web", 0)}, some},
		{transition{name: "a deletion, and it is there again", word: word(3), is: ref(has("web", 5)), want: word(5), current: rev(5)},
			[]source.Change{deleted("web", 4)}, some},
		{transition{name: "a deletion, then a newer revision", word: word(3), want: word(5), current: rev(5)},
			[]source.Change{deleted("web", 4), has("web", 5)}, some},
		{transition{name: "an old deletion, of a database that was restored", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 2)}, some},
		{transition{name: "a deletion of the same generation", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 3)}, some},
		{transition{name: "a deletion of what it never had", current: rev(3)}, []source.Change{deleted("web", 9)}, some},
		{transition{name: "a deletion of what it lacks", word: lacks, want: lacks, current: rev(3)}, []source.Change{deleted("web", 9)}, some},
		{transition{name: "what it lacked", word: lacks, want: word(1), current: rev(1)}, []source.Change{has("web", 1)}, some},

		// A pass that sees everything.
		{transition{name: "everything, and it is there", word: word(3), want: word(3), current: rev(3)}, []source.Change{has("web", 3)}, with},
		{transition{name: "everything, and it is not there", word: word(3), want: lacks, current: rev(3), kept: true}, nil, without},
		{transition{name: "everything, and it was not there before", word: lacks, want: lacks, current: rev(3)}, nil, without},
		{transition{name: "everything, and it is another store's", want: lacks, current: rev(3), kept: true}, nil, without},
		{transition{name: "everything, with a deletion", word: word(3), removed: true}, []source.Change{deleted("web", 4)}, without},
		{transition{name: "everything, with the deletion of what is there again", word: word(3), is: ref(has("web", 5)), want: word(5), current: rev(5)},
			[]source.Change{deleted("web", 4)}, without},
		{transition{name: "everything, with an old deletion", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 2)}, without},
		{transition{name: "everything, with a deletion of what it never had", want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 9)}, without},
		{transition{name: "what it lacked is gone from the disk", word: lacks, fresh: true}, nil, without},

		// A pass over another incarnation of the store.
		{transition{name: "new, and it is there", word: word(3), want: word(1), current: rev(1)}, []source.Change{has("web", 1)}, newWith},
		{transition{name: "new, and it is not there", word: word(3), want: lacks, current: rev(3), kept: true}, nil, newWithout},
		{transition{name: "new, with a deletion from its own past", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 9)}, newWithout},
		{transition{name: "new, with an old deletion", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 2)}, newWithout},
		{transition{name: "new, and it lacked it before", word: lacks, want: lacks, current: rev(3), kept: true}, nil, newWithout},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &fakeStore{looks: []look{{changes: test.changes, snapshot: test.snapshot}}}
			// A pass of follow, and its end.
			h := test.host(t, s, 0)
			h.follower.state = openStates(h.revisions.Root, 0, h.follower.Applier, h)
			if test.snapshot.Present != nil {
				test.snapshot.Present = all()
				for service := range s.looks[0].snapshot.Present {
					test.snapshot.Present[service] = true
				}
				s.looks[0].snapshot.Present = test.snapshot.Present
			}
			if _, _, err := h.follower.pass(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := h.follower.Applier.Wait(); err != nil {
				t.Fatal(err)
			}
			h.follower.state.flush()
			test.check(t, h)
			if got := h.state().Position; got != test.snapshot.Position {
				t.Errorf("the position is %v, want %v", got, test.snapshot.Position)
			}
		})
	}
}

// What the feed does with a service.
func TestFeedTransitions(t *testing.T) {
	lacks := &Word{Lacks: true}
	for _, test := range []struct {
		transition
		feed []source.Change
	}{
		{transition{name: "a newer revision", word: word(3), want: word(4), current: rev(4)}, []source.Change{has("web", 4)}},
		{transition{name: "the first revision", fresh: true, want: word(1), current: rev(1)}, []source.Change{has("web", 1)}},
		{transition{name: "the feed rewinds", word: word(3), is: ref(has("web", 4)), want: word(4), current: rev(4)},
			[]source.Change{has("web", 4), has("web", 2), has("web", 3), has("web", 4)}},
		{transition{name: "another winner", word: word(3), is: ref(has("web", 2)), want: word(2), current: rev(2)}, []source.Change{has("web", 2)}},
		{transition{name: "a deletion", word: word(3), removed: true}, []source.Change{deleted("web", 4)}},
		{transition{name: "a deletion that names no revision", word: word(0), removed: true}, []source.Change{deleted("web", 0)}},
		{transition{name: "an old deletion, since the feed rewinds", word: word(3), is: ref(has("web", 3)), want: word(3), current: rev(3)},
			[]source.Change{deleted("web", 2)}},
		{transition{name: "an old deletion, and it does not have it", word: word(3), want: lacks, current: rev(3), kept: true},
			[]source.Change{deleted("web", 2)}},
		{transition{name: "a deletion of what it never had", current: rev(3)}, []source.Change{deleted("web", 9)}},
		{transition{name: "a deletion of what it lacks", word: lacks, want: lacks, current: rev(3)}, []source.Change{deleted("web", 9)}},
		{transition{name: "what it lacked, and its deletion", word: lacks, removed: true}, []source.Change{has("web", 1), deleted("web", 2)}},
		{transition{name: "a deletion of what was only invalid", fresh: true},
			[]source.Change{{Service: "web", Rev: rev(1), Document: []byte(`{}`)}, deleted("web", 2)}},
		{transition{name: "an invalid revision", word: word(3), want: word(4), current: rev(3)},
			[]source.Change{{Service: "web", Rev: rev(4), Document: []byte(`{}`)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &fakeStore{
				looks: []look{{snapshot: source.Snapshot{Position: source.Position{Since: "8", Instance: "one"}}}},
				feed:  test.feed, told: make(chan struct{}),
			}
			h := test.host(t, s, time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); h.follower.Run(ctx) }()
			<-s.told
			if test.removed {
				h.eventually("removed", func() bool { _, err := os.Stat(filepath.Join(h.revisions.Root, "web")); return err != nil })
			}
			cancel()
			<-ended
			if err := h.follower.Applier.Wait(); err != nil {
				t.Fatal(err)
			}
			h.follower.state.flush()
			if test.current == "" && h.follower.Applier.InvalidCount() != 0 {
				t.Error("it counts as invalid, and is gone")
			}
			test.check(t, h)
		})
	}
}

// What was refused does not outlast its store.
func TestRefusedAndGone(t *testing.T) {
	s := &fakeStore{looks: []look{
		{changes: []source.Change{has("web", 1), {Service: "shop", Rev: rev(1), Document: document("web")}},
			snapshot: source.Snapshot{Position: source.Position{Since: "8", Instance: "one"}, Present: map[name.Service]bool{"web": true, "shop": true}}},
		{snapshot: source.Snapshot{Position: source.Position{Since: "1", Instance: "two"}, New: true, Present: map[name.Service]bool{"web": true}}},
	}}
	h := newHost(t, s, 0)
	h.follower.state = openStates(h.revisions.Root, 0, h.follower.Applier, h)
	for i, want := range []bool{true, false} {
		if _, _, err := h.follower.pass(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if waits := h.follower.Applier.Waits("shop"); waits != want {
			t.Errorf("after pass %d shop waits: %t", i+1, waits)
		}
	}
}

// A pass that is cut short keeps what it has heard, but not its position.
func TestPassBreaksOff(t *testing.T) {
	s := &fakeStore{looks: []look{
		{changes: []source.Change{has("api", 1)}, err: errors.New("cut off"), snapshot: source.Snapshot{}},
		{changes: []source.Change{deleted("api", 2)}, snapshot: source.Snapshot{Position: source.Position{Since: "9"}}},
	}}
	h := transition{word: word(3)}.host(t, s, 0)
	h.follower.state = openStates(h.revisions.Root, 0, h.follower.Applier, h)
	if _, _, err := h.follower.pass(t.Context(), false); err == nil {
		t.Fatal("got no error")
	}
	if got := h.state(); got.Since != "7" || !got.Has("api") || !got.Has("web") {
		t.Errorf("got %+v", got)
	}
	if _, removed, err := h.follower.pass(t.Context(), false); err != nil || removed != 1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	if err := h.follower.Applier.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A database that is missing may come back, or another one of its name.
func TestMissingDatabase(t *testing.T) {
	for _, test := range []struct {
		name   string
		before State
		want   State
	}{
		{"that names itself",
			State{Store: "STORE", Position: source.Position{Since: "7", Instance: "one"}, Services: map[name.Service]Word{"web": *word(3)}},
			State{Store: "STORE", Position: source.Position{Instance: "one"}, Services: map[name.Service]Word{"web": *word(3)}}},
		{"that does not",
			State{Store: "STORE", Position: source.Position{Since: "7"}, Services: map[name.Service]Word{"web": *word(3)}},
			State{Store: "STORE"}},
		{"that was not followed yet",
			State{Store: "OTHER", Position: source.Position{Since: "7"}, Services: map[name.Service]Word{"web": *word(3)}},
			State{Store: "OTHER", Position: source.Position{Since: "7"}, Services: map[name.Service]Word{"web": *word(3)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, &fakeStore{looks: []look{{err: source.ErrMissing}}}, 0)
			h.save("web", rev(3))
			h.write(test.before)
			if err := h.follower.Once(t.Context(), nil); err == nil {
				t.Error("got no error")
			}
			h.follower.state.flush()
			if diff := cmp.Diff(test.want, h.state()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A definition that comes back while sm-fetch once removes its service is there at
// the end.
func TestComesBackDuringOnce(t *testing.T) {
	position := source.Position{Since: "8", Instance: "one"}
	s := &fakeStore{looks: []look{
		{changes: []source.Change{deleted("web", 4)}, snapshot: source.Snapshot{Position: position, Present: map[name.Service]bool{}}},
		{changes: []source.Change{has("web", 5)}, snapshot: source.Snapshot{Position: position, Present: map[name.Service]bool{"web": true}}},
	}}
	h := transition{word: word(3)}.host(t, s, 0)
	if err := h.follower.Once(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	transition{want: word(5), current: rev(5), removed: true}.check(t, h)
}

// What an earlier release wrote counts.
func TestStateOfAnEarlierRelease(t *testing.T) {
	h := newHost(t, &fakeStore{}, 0)
	h.save("web", rev(3))
	h.save("api", rev(1))
	if err := os.WriteFile(StatePath(h.revisions.Root), []byte(`{"store":"STORE","since":"7-x","kept":["api"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := openStates(h.revisions.Root, 0, h.follower.Applier, h).get()
	want := State{Store: "STORE", Position: source.Position{Since: `"7-x"`}, Services: map[name.Service]Word{"api": {Lacks: true}, "web": {}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A change that waits for the end of a removal is on disk nowhere: a crash meanwhile
// must find a state that does not cover it.
func TestStateWaitsForWhatWaits(t *testing.T) {
	hold := make(chan struct{})
	s := &fakeStore{
		looks: []look{{snapshot: source.Snapshot{Position: source.Position{Since: "8", Instance: "one"}}}},
		feed:  []source.Change{deleted("web", 4), has("web", 5), has("api", 1)}, told: make(chan struct{}),
	}
	h := transition{word: word(3)}.host(t, s, time.Millisecond)
	h.stop = func(ctx context.Context, _ name.Service) error {
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.follower.Run(ctx) }()
	defer func() { cancel(); <-ended; _ = h.follower.Applier.Wait() }()
	<-s.told
	h.follower.state.flush()
	// But what was said of api counts already: a deletion of it must not be taken for one of
	// what the store never had.
	if got := h.state(); got.Since != "8" || !cmp.Equal(got.Services["web"], *word(3)) || !cmp.Equal(got.Services["api"], *word(1)) {
		t.Errorf("before the end of the removal the state is %+v", got)
	}
	close(hold)
	h.eventually("the state is written", func() bool { return h.state().Since == "102" })
	if current, _ := h.revisions.Current("web"); string(current) != rev(5) {
		t.Errorf("%q is current", current)
	}
}

// unsettled becomes so while it is asked.
type unsettled struct{ becomes func() }

func (u *unsettled) Unsettled(func()) map[name.Service]bool {
	if u.becomes != nil {
		u.becomes()
		u.becomes = nil
	}
	return nil
}

// A change that begins to wait while the state is being written is not in it.
func TestStateThatIsBeingWritten(t *testing.T) {
	h := newHost(t, &fakeStore{}, 0)
	u := &unsettled{}
	s := openStates(h.revisions.Root, time.Hour, u, h)
	state := State{Store: "STORE", Position: source.Position{Since: "8"}}
	u.becomes = func() {
		later := state.Clone()
		later.Since = "9"
		s.soon(later)
	}
	s.set(state)
	if got := h.state().Since; got != "8" {
		t.Errorf("the state is at %s", got)
	}
	s.flush()
	if got := h.state().Since; got != "9" {
		t.Errorf("then it is at %s", got)
	}
}

// A start ends, whatever the store does.
func TestStartEnds(t *testing.T) {
	position := source.Position{Since: "8", Instance: "one"}
	released := make(chan struct{})
	for _, test := range []struct {
		name string
		look look
		want string
	}{
		{"it says nothing", look{during: func() { <-released }}, "STATUS=still reading STORE; serving from disk"},
		{"it drips", look{changes: []source.Change{has("api", 1)}, during: func() { <-released }},
			"STATUS=still reading STORE, 1 so far, the last of api; serving from disk"},
		{"it is out of reach", look{err: errors.New("connection refused")}, "STATUS=cannot read STORE: connection refused"},
		{"it answers", look{snapshot: source.Snapshot{Position: position}}, "STATUS=following STORE, 0 services"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, &fakeStore{looks: []look{test.look}}, time.Millisecond)
			h.follower.Times.Start = 20 * time.Millisecond
			if test.look.during == nil { // it need not be told that it takes long
				h.follower.Times.Start = time.Hour
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); h.follower.Run(ctx) }()
			h.eventually("ready", func() bool { return h.noted("READY=1") })
			if !h.noted(test.want) {
				t.Errorf("notified %q, want %q", h.notes, test.want)
			}
			cancel()
			if test.look.during != nil {
				released <- struct{}{}
			}
			<-ended
		})
	}
}
