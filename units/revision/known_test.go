package revision

import (
	"os"
	"strings"
	"testing"
)

func TestKnown(t *testing.T) {
	s := newStore(t)
	s.Known = new(Known)
	s.mustSave(t, 1)
	first, err := s.Read(web(1))
	must(t, err)
	if again, err := s.Read(web(1)); again != first {
		t.Errorf("another parse: %+v, %v", again, err)
	}
	must(t, os.WriteFile(s.Path(web(1)), []byte(strings.Replace(string(document(1)), "app:1", "app:x", 1)), 0o600))
	if changed, err := s.Read(web(1)); err != nil || changed.Image != "app:x" {
		t.Errorf("a file that has changed: %+v, %v", changed, err)
	}
	must(t, os.WriteFile(s.Path(web(1)), []byte("{"), 0o600))
	if d, err := s.Read(web(1)); err == nil {
		t.Errorf("a damaged file: %+v", d)
	}

	must(t, os.WriteFile(s.Path(web(1)), document(1), 0o600))
	for n := 2; n <= Kept+3; n++ {
		s.mustSave(t, n)
		must(t, s.SetCurrent(web(n)))
		must(t, s.SetGood(web(n)))
		_, err := s.Read(web(n))
		must(t, err)
	}
	must(t, s.Prune("web", nil))
	if n := len(s.Known.definitions); n != Kept {
		t.Errorf("after Prune %d definitions are known, want %d", n, Kept)
	}
	must(t, s.Remove("web"))
	if len(s.Known.definitions) != 0 || s.Known.size != 0 {
		t.Errorf("after Remove %d definitions are known, of %d bytes", len(s.Known.definitions), s.Known.size)
	}
}

func TestKnownIsBounded(t *testing.T) {
	var k Known
	large := []byte(strings.Replace(string(document(1)), "{", "{"+strings.Repeat(" ", 100<<10), 1))
	for n := range 100 {
		d, err := k.parse(web(n+1), []byte(strings.Replace(string(large), string(rev(1)), string(rev(n+1)), 1)))
		must(t, err)
		if d.Rev != rev(n+1) {
			t.Fatalf("got %s, want %s", d.Rev, rev(n+1))
		}
		if k.size > mostKnown || len(k.definitions) == 0 {
			t.Fatalf("%d definitions of %d bytes are known", len(k.definitions), k.size)
		}
	}
}
