package revision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"service-manager/units/definition"
	"service-manager/units/revision/atomicfile"
)

// name returns the name of revision n.
func name(n int) string { return fmt.Sprintf("%d-%032x", n, n) }

func document(n int) []byte {
	return []byte(fmt.Sprintf(`{"_id":"web","_rev":%q,"image":"app:%d","address":"10.0.0.1:80","port":80}`, name(n), n))
}

func newStore(t *testing.T) Store {
	dir := t.TempDir()
	return Store{Root: filepath.Join(dir, "revisions"), Run: filepath.Join(dir, "run")}
}

func (s Store) mustSave(t *testing.T, n int) {
	t.Helper()
	if err := s.Save("web", name(n), document(n)); err != nil {
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
	must(t, s.SetGood("web", name(2)))
	must(t, s.SetCurrent("web", name(10)))
	must(t, s.SetFailed("web", name(9), "never healthy"))
	write(t, s.RecordPath("web", name(1)), "SM_CONTAINER_ID=x\n")

	got, err := s.State("web")
	if err != nil {
		t.Fatal(err)
	}
	var definitions []string
	for _, d := range got.Definitions {
		definitions = append(definitions, d.Revision)
	}
	if diff := cmp.Diff([]string{name(1), name(2), name(10)}, definitions); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
	if got.Current != name(10) || got.Good != name(2) || !got.Pending() || !cmp.Equal(got.Failed, []string{name(9)}) {
		t.Errorf("State = %+v", got)
	}
	must(t, s.SetFailed("web", name(10), "exited"))
	if got, _ := s.State("web"); got.Pending() {
		t.Errorf("a failed revision is still pending")
	}
	must(t, s.ClearFailed("web", name(10)))
	must(t, s.SetGood("web", name(10)))
	if got, _ := s.State("web"); got.Pending() || got.Good != name(10) {
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
		current string
		good    string
	}{
		{"nothing", func(*testing.T, Store) {}, "", name(2), name(1)},
		{"foreign file", func(t *testing.T, s Store) { write(t, s.Root+"/web/notes.txt", "x") }, "notes.txt: is not a revision", name(2), name(1)},
		{"folder like a revision", func(t *testing.T, s Store) { must(t, os.Mkdir(s.Root+"/web/"+name(3)+".json", 0o755)) }, "is not a revision", name(2), name(1)},
		{"left-over of a crash", func(t *testing.T, s Store) { write(t, s.Root+"/web/"+atomicfile.TempPrefix+"1", "{") }, "", name(2), name(1)},
		{"truncated revision", func(t *testing.T, s Store) { write(t, s.Path("web", name(2)), string(document(2)[:20])) }, "web " + name(2) + ": the definition is not JSON: it ends too early", "", name(1)},
		{"empty good", func(t *testing.T, s Store) { write(t, s.Path("web", name(1)), "") }, name(1) + ": the definition is not JSON", name(2), ""},
		{"document of another service", func(t *testing.T, s Store) {
			write(t, s.Path("web", name(2)), strings.Replace(string(document(2)), `"web"`, `"db"`, 1))
		}, `_id: must be "web"`, "", name(1)},
		{"dangling link", func(t *testing.T, s Store) { must(t, os.Remove(s.Path("web", name(2)))) }, "no such file", "", name(1)},
		{"link out of the folder", func(t *testing.T, s Store) {
			must(t, atomicfile.Link("../../../etc/passwd", s.Root+"/web/current"))
		}, `leads to "../../../etc/passwd"`, "", name(1)},
		{"file instead of a link", func(t *testing.T, s Store) {
			must(t, os.Remove(s.Root+"/web/current"))
			write(t, s.Root+"/web/current", "x")
		}, "read the link current", "", name(1)},
		{"file instead of a service", func(t *testing.T, s Store) { write(t, s.Root+"/README", "x") }, "README: is not the folder of a service", name(2), name(1)},
		{"folder with a bad name", func(t *testing.T, s Store) { must(t, os.Mkdir(s.Root+"/We b", 0o755)) }, `We b: the name of a service must be made of`, name(2), name(1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			s.mustSave(t, 1)
			s.mustSave(t, 2)
			must(t, s.SetGood("web", name(1)))
			must(t, s.SetCurrent("web", name(2)))
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
	must(t, s.Save("web", name(1), other))
	if got, _ := os.ReadFile(s.Path("web", name(1))); string(got) != string(document(1)) {
		t.Errorf("a revision has changed to %s", got)
	}
	write(t, s.Path("web", name(1)), "{")
	s.mustSave(t, 1)
	if _, err := s.Read("web", name(1)); err != nil {
		t.Errorf("a truncated revision was not replaced: %v", err)
	}
	if info, err := os.Stat(s.Path("web", name(1))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestNamesThatLeadElsewhere(t *testing.T) {
	s := newStore(t)
	for _, service := range []string{"..", "../x", "", "/etc", "manager"} {
		for what, err := range map[string]error{
			"Save": s.Save(service, name(1), document(1)), "SetCurrent": s.SetCurrent(service, name(1)), "Remove": s.Remove(service),
			"SetFailed": s.SetFailed(service, name(1), ""), "MarkDeleted": s.MarkDeleted(service),
		} {
			if err == nil {
				t.Errorf("%s(%q) = nil; want an error", what, service)
			}
		}
	}
	if err := s.Save("web", "../../x", document(1)); err == nil {
		t.Error("Save of a revision with a path = nil; want an error")
	}
	if err := s.SetCurrent("web", name(7)); err == nil {
		t.Error("SetCurrent of a revision that is not on disk = nil; want an error")
	}
}

func TestPrune(t *testing.T) {
	s := newStore(t)
	for n := 1; n <= 20; n++ {
		s.mustSave(t, n)
		must(t, s.SetFailed("web", name(n), "x"))
	}
	must(t, s.SetGood("web", name(2)))
	must(t, s.SetCurrent("web", name(20)))
	write(t, s.RecordPath("web", name(5)), "")
	// Nothing is removed without knowing what systemd is about to run.
	if err := s.Prune("web", func() ([]string, error) { return nil, errors.New("systemd does not answer") }); err == nil {
		t.Error("Prune = nil; want an error")
	}
	if got, _ := s.Revisions("web"); len(got) != 20 {
		t.Errorf("%d revisions are left, want all", len(got))
	}
	must(t, s.Prune("web", func() ([]string, error) { return []string{name(7), name(12)}, nil }))
	want := []string{name(2), name(5), name(7)}
	for n := 11; n <= 20; n++ {
		want = append(want, name(n))
	}
	got, err := s.Revisions("web")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("left over (-want +got), error %v:\n%s", err, diff)
	}
	if _, failed, _ := s.records("web"); !cmp.Equal(failed, want) {
		t.Errorf("failed records of %v; want those of what is left", failed)
	}
}

func TestRemoveAndClean(t *testing.T) {
	s := newStore(t)
	s.mustSave(t, 1)
	must(t, s.SetFailed("web", name(1), "x"))
	must(t, s.MarkDeleted("web"))
	if !s.Deleted("web") {
		t.Error("not marked as deleted")
	}
	must(t, s.Remove("web"))
	must(t, s.Remove("web")) // again, as after a crash
	if s.Deleted("web") {
		t.Error("still marked as deleted")
	}
	write(t, s.Root+"/"+atomicfile.TempPrefix+"removed-db/current", "")
	s.mustSave(t, 2)
	write(t, s.Root+"/web/"+atomicfile.TempPrefix+"9", "")
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
	f.Add(document(1), name(1)+".json")
	f.Add([]byte("{"), "../x")
	f.Fuzz(func(t *testing.T, content []byte, target string) {
		s := newStore(t)
		write(t, s.Path("web", name(1)), string(content))
		_ = os.Symlink(target, s.Root+"/web/current")
		state, err := s.State("web")
		if state.Current != "" && (state.Definition(state.Current) == nil || definition.CheckRevision(state.Current) != nil) {
			t.Errorf("State = %+v, %v: current has no definition", state, err)
		}
	})
}
