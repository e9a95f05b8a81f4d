package follow

import (
	"os"
	"path/filepath"
	"testing"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"

	"github.com/google/go-cmp/cmp"
)

func TestState(t *testing.T) {
	revisions := filepath.Join(t.TempDir(), "revisions")
	if got, err := ReadState(revisions); err != nil || !cmp.Equal(got, State{}) {
		t.Errorf("without a file: got %+v, %v", got, err)
	}
	want := State{
		Store:    "http://127.0.0.1:5984/services",
		Position: source.Position{Since: `"5-g1AAAACbeJz"`, Instance: "1763812960"},
		Services: map[name.Service]Word{"api": {Lacks: true}, "db": {}, "web": {Rev: "2-ca00960e886a4df88ad719fb29018449"}},
	}
	if err := WriteState(revisions, want); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(StatePath(revisions), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(revisions)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(StatePath(revisions)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, broken := range []string{"", "{", "[]", "{}", `{"store":7}`, "\x00\x00\x00"} {
		if err := os.WriteFile(StatePath(revisions), []byte(broken), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadState(revisions); err == nil || !cmp.Equal(got, State{}) {
			t.Errorf("%q: got %+v, %v", broken, got, err)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"store":"/etc/service-manager/services","kept":["web"]}`))
	f.Add([]byte(`{"store":"http://127.0.0.1:5984/services","since":"5-g1AAAA","instance":"1"}`))
	f.Add([]byte(`{"store":"x","since":[7,"x"],"services":{"web":{"rev":"2-ca00960e886a4df88ad719fb29018449"},"api":{"lacks":true},"../x":{}}}`))
	f.Add([]byte(`{"store":"x","since":1e400,"services":{"web":{"rev":"../../x"}}}`))
	f.Add([]byte(`{"store":"x","kept":["../../etc","web","web"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := parseState(data)
		if err != nil {
			if !cmp.Equal(state, State{}) {
				t.Errorf("got %+v with %v", state, err)
			}
			return
		}
		// What is read can be written and read again.
		revisions := t.TempDir()
		if err := WriteState(revisions, state); err != nil {
			t.Fatal(err)
		}
		again, err := ReadState(revisions)
		if err != nil {
			t.Fatal(err)
		}
		if len(state.Kept) == 0 {
			state.Kept, again.Kept = nil, nil
		}
		if diff := cmp.Diff(state, again); diff != "" {
			t.Error(diff)
		}
	})
}
