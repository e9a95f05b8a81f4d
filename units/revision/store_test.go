package revision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// rev returns the name of revision n.
func rev(n int) name.Rev { return name.Rev(fmt.Sprintf("%d-%032x", n, n)) }

// web returns revision n of the service web.
func web(n int) name.Revision { return name.Revision{Service: "web", Rev: rev(n)} }

func document(n int) []byte {
	return []byte(fmt.Sprintf(`{"_id":"web","_rev":%q,"image":"app:%d","address":"10.0.0.1:80","port":80}`, rev(n), n))
}

func newStore(t *testing.T) Store {
	dir := t.TempDir()
	return Store{Root: filepath.Join(dir, "revisions"), Run: filepath.Join(dir, "run")}
}

func (s Store) mustSave(t *testing.T, n int) {
	t.Helper()
	if err := s.Save(web(n), document(n)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestState(t *testing.T) {
	s := newStore(t)
	for _, n := range []int{1, 2, 9, 10} {
		s.mustSave(t, n)
	}
	must(t, s.SetGood(web(2)))
	must(t, s.SetCurrent(web(10)))
	must(t, s.SetFailed(web(9), "never healthy"))
	write(t, s.RecordPath(web(1).First()), "SM_CONTAINER_ID=x\n")

	got, err := s.State("web")
	if err != nil {
		t.Fatal(err)
	}
	var definitions []name.Rev
	for _, d := range got.Definitions {
		definitions = append(definitions, d.Rev)
	}
	if diff := cmp.Diff([]name.Rev{rev(1), rev(2), rev(10)}, definitions); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
	if got.Current != rev(10) || got.Good != rev(2) || !got.Pending() || !cmp.Equal(got.Failed, []name.Rev{rev(9)}) {
		t.Errorf("State = %+v", got)
	}
	must(t, s.SetFailed(web(10), "exited"))
	if got, _ := s.State("web"); got.Pending() {
		t.Errorf("a failed revision is still pending")
	}
	must(t, s.ClearFailed(web(10)))
	must(t, s.SetGood(web(10)))
	if got, _ := s.State("web"); got.Pending() || got.Good != rev(10) {
		t.Errorf("a good revision is still pending")
	}
}

// Whatever else lies in the folders is reported, and everything that is sound
// is still found.
func TestStateWithForeignFiles(t *testing.T) {
	tests := []struct {
		name    string
		damage  func(t *testing.T, s Store)
		want    string // part of the error, empty for none
		current name.Rev
		good    name.Rev
	}{
		{"nothing", func(*testing.T, Store) {}, "", rev(2), rev(1)},
		{"foreign file", func(t *testing.T, s Store) { write(t, s.Root+"/web/notes.txt", "x") }, "notes.txt: is not a revision", rev(2), rev(1)},
		{"folder like a revision", func(t *testing.T, s Store) { must(t, os.Mkdir(s.Root+"/web/"+string(rev(3))+".json", 0o755)) }, "is not a revision", rev(2), rev(1)},
		{"left-over of a crash", func(t *testing.T, s Store) { write(t, s.Root+"/web/"+atomicfile.TempPrefix+"1", "{") }, "", rev(2), rev(1)},
		{"truncated revision", func(t *testing.T, s Store) { write(t, s.Path(web(2)), string(document(2)[:20])) }, web(2).String() + ": the definition is not JSON: it ends too early", "", rev(1)},
		{"empty good", func(t *testing.T, s Store) { write(t, s.Path(web(1)), "") }, web(1).String() + ": the definition is not JSON", rev(2), ""},
		{"document of another service", func(t *testing.T, s Store) {
			write(t, s.Path(web(2)), strings.Replace(string(document(2)), `"web"`, `"db"`, 1))
		}, `_id: must be "web"`, "", rev(1)},
		{"dangling link", func(t *testing.T, s Store) { must(t, os.Remove(s.Path(web(2)))) }, "no such file", "", rev(1)},
		{"link out of the folder", func(t *testing.T, s Store) {
			must(t, atomicfile.Link("../../../etc/passwd", s.Root+"/web/current"))
		}, `leads to "../../../etc/passwd"`, "", rev(1)},
		{"file instead of a link", func(t *testing.T, s Store) {
			must(t, os.Remove(s.Root+"/web/current"))
			write(t, s.Root+"/web/current", "x")
		}, "read the link current", "", rev(1)},
		{"file instead of a service", func(t *testing.T, s Store) { write(t, s.Root+"/README", "x") }, "README: is not the folder of a service", rev(2), rev(1)},
		{"folder with a bad name", func(t *testing.T, s Store) { must(t, os.Mkdir(s.Root+"/We b", 0o755)) }, `We b: the name of a service must be made of`, rev(2), rev(1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			s.mustSave(t, 1)
			s.mustSave(t, 2)
			must(t, s.SetGood(web(1)))
			must(t, s.SetCurrent(web(2)))
			test.damage(t, s)
			states, err := s.States()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error = %v; want one with %q", err, test.want)
			}
			if len(states) != 1 || states[0].Current != test.current || states[0].Good != test.good {
				t.Errorf("states = %+v; want current %q and good %q", states, test.current, test.good)
			}
		})
	}
}

func TestSaveKeepsWhatIsThere(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	other := []byte(strings.Replace(string(document(1)), "app:1", "app:other", 1))
	must(t, s.Save(web(1), other))
	if got, _ := os.ReadFile(s.Path(web(1))); string(got) != string(document(1)) {
		t.Errorf("a revision has changed to %s", got)
	}
	write(t, s.Path(web(1)), "{")
	s.mustSave(t, 1)
	if _, err := s.Read(web(1)); err != nil {
		t.Errorf("a truncated revision was not replaced: %v", err)
	}
	if info, err := os.Stat(s.Path(web(1))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestRefuses(t *testing.T) {
	s := newStore(t)
	if err := s.SetCurrent(web(7)); err == nil {
		t.Error("SetCurrent of a revision that is not on disk = nil; want an error")
	}
	// What has no name would be the folder of all.
	s.mustSave(t, 1)
	if err := s.Remove(""); err == nil {
		t.Error("Remove of no service = nil; want an error")
	}
	if _, err := s.Read(web(1)); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	s := newStore(t)
	for n := 1; n <= 20; n++ {
		s.mustSave(t, n)
		must(t, s.SetFailed(web(n), "x"))
		write(t, s.PreStartedPath(web(n)), "")
	}
	must(t, s.SetGood(web(2)))
	must(t, s.SetCurrent(web(20)))
	write(t, s.RecordPath(web(5).First()), "")
	// Nothing is removed without knowing what systemd is about to run.
	if err := s.Prune("web", func() ([]name.Rev, error) { return nil, errors.New("systemd does not answer") }); err == nil {
		t.Error("Prune = nil; want an error")
	}
	if got, _ := s.Revisions("web"); len(got) != 20 {
		t.Errorf("%d revisions are left, want all", len(got))
	}
	must(t, s.Prune("web", func() ([]name.Rev, error) { return []name.Rev{rev(7), rev(12)}, nil }))
	want := []name.Rev{rev(2), rev(5), rev(7)}
	for n := 11; n <= 20; n++ {
		want = append(want, rev(n))
	}
	got, err := s.Revisions("web")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("left over (-want +got), error %v:\n%s", err, diff)
	}
	if records, _ := s.records("web"); !cmp.Equal(records.failed, want) {
		t.Errorf("failed records of %v; want those of what is left", records.failed)
	}
	for n := 1; n <= 20; n++ {
		_, err := os.Stat(s.PreStartedPath(web(n)))
		if is := err == nil; is != slices.Contains(want, rev(n)) {
			t.Errorf("that the pre_start of %s has succeeded is noted: %t", web(n), is)
		}
	}
}

// Units are made for the first runner of each revision, for what runs besides, and for
// what is announced of the good one.
func TestRunners(t *testing.T) {
	s := newStore(t)
	for n := 1; n <= 3; n++ {
		s.mustSave(t, n)
	}
	must(t, s.SetGood(web(2)))
	must(t, s.SetCurrent(web(3)))
	write(t, s.RecordPath(web(1).Runner(2)), "")
	for n := 1; n <= 3; n++ {
		must(t, s.Announce(web(n).First()))
	}
	must(t, errors.Join(s.Announce(web(2).Runner(2)), s.Announce(web(3).Runner(2))))
	runners := func() (all []string) {
		t.Helper()
		state, err := s.State("web")
		must(t, err)
		for n := 1; n <= 3; n++ {
			for _, r := range state.Runners(web(n)) {
				all = append(all, fmt.Sprintf("%d:%d", n, r.Number))
			}
		}
		return all
	}
	if diff := cmp.Diff([]string{"1:1", "1:2", "2:1", "2:2", "3:1"}, runners()); diff != "" {
		t.Errorf("runners (-want +got):\n%s", diff)
	}
	// It is live and announced at once.
	write(t, s.RecordPath(web(2).Runner(2)), "")
	must(t, s.WithdrawOthers(web(2)))
	must(t, s.SetGood(web(3)))
	if diff := cmp.Diff([]string{"1:1", "1:2", "2:1", "2:2", "3:1"}, runners()); diff != "" {
		t.Errorf("runners (-want +got):\n%s", diff)
	}
	must(t, errors.Join(s.ClearRecord(web(2).Runner(2)), s.ClearRecord(web(1).Runner(2)), s.Withdraw(web(2).Runner(2)), s.Withdraw(web(2).Runner(2))))
	if diff := cmp.Diff([]string{"1:1", "2:1", "3:1"}, runners()); diff != "" {
		t.Errorf("runners (-want +got):\n%s", diff)
	}
}

// The number of replicas is what the revision says, or a newer one instead.
func TestScale(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	s.mustSave(t, 2)
	must(t, errors.Join(s.SetCurrent(web(1)), s.SetGood(web(1))))
	replicas := func(want int) {
		t.Helper()
		n, err := s.Replicas(web(1))
		must(t, err)
		state, err := s.State("web")
		must(t, err)
		if runners := state.Runners(web(1)); n != want || len(runners) != want || state.Replicas(rev(1)) != want {
			t.Errorf("%d replicas, runners %v; want %d", n, runners, want)
		}
	}
	replicas(1)
	must(t, s.SetScale(web(1), Scale{3, rev(2)}))
	replicas(3)
	// It is for the good revision alone.
	must(t, errors.Join(s.SetCurrent(web(2)), s.SetGood(web(2))))
	if state, err := s.State("web"); err != nil || state.Scaled.By != "" || len(state.Runners(web(2))) != 1 {
		t.Errorf("%+v, %v; want one runner", state, err)
	}
	for _, text := range []string{"", "3", "0 " + string(rev(2)), "99 " + string(rev(2)), "3 ../../x", "x"} {
		write(t, s.scalePath(web(1)), text)
		if scale, err := s.Scale(web(1)); err == nil {
			t.Errorf("%q is read as %+v", text, scale)
		}
	}
	must(t, s.SetGood(web(1)))
	if state, err := s.State("web"); err == nil || len(state.Runners(web(1))) != 1 {
		t.Errorf("a damaged number: %v, %v; want an error, and what the revision says", state.Runners(web(1)), err)
	}
}

func TestRemoveAndClean(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	must(t, s.SetFailed(web(1), "x"))
	must(t, s.MarkDeleted("web"))
	if !s.Deleted("web") {
		t.Error("not marked as deleted")
	}
	unremovable := s
	unremovable.Run = s.Root + "/web/" + string(rev(1)) + ".json" // not a folder
	if err := unremovable.Remove("web"); err == nil || !s.Deleted("web") {
		t.Errorf("the records could not be removed (%v), and the service is forgotten: %t", err, !s.Deleted("web"))
	}
	must(t, s.Remove("web"))
	must(t, s.Remove("web")) // again, as after a crash
	if s.Deleted("web") {
		t.Error("still marked as deleted")
	}
	write(t, s.Root+"/"+atomicfile.TempPrefix+"removed-db/current", "")
	s.mustSave(t, 2)
	write(t, s.Root+"/web/"+atomicfile.TempPrefix+"9", "")
	age(t, s.Root+"/web/"+atomicfile.TempPrefix+"9")
	must(t, s.Clean(t.Context()))
	for _, dir := range []string{s.Root, s.Root + "/web"} {
		entries, err := filepath.Glob(dir + "/[^.]*")
		if left, _ := filepath.Glob(dir + "/" + atomicfile.TempPrefix + "*"); err != nil || len(entries) != 1 || len(left) > 0 {
			t.Errorf("%s holds %v and %v, %v; want one entry", dir, entries, left, err)
		}
	}
	if _, err := os.Stat(s.Run + "/web"); !os.IsNotExist(err) {
		t.Errorf("the records are still there: %v", err)
	}
}

// The bytes of a revision may come from anywhere.
func FuzzState(f *testing.F) {
	f.Add(document(1), string(rev(1))+".json")
	f.Add([]byte("{"), "../x")
	f.Fuzz(func(t *testing.T, content []byte, target string) {
		s := newStore(t)
		write(t, s.Path(web(1)), string(content))
		_ = os.Symlink(target, s.Root+"/web/current")
		state, err := s.State("web")
		if _, bad := name.ParseRev(string(state.Current)); state.Current != "" && (state.Definition(state.Current) == nil || bad != nil) {
			t.Errorf("State = %+v, %v: current has no definition", state, err)
		}
	})
}
