package folder

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What is read of a file that changes at that moment may be half of each, and would be
// handed over a second time.
func TestFileChangesBetweenLookAndRead(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "web.json")
	write := func(content string) signature {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		is, err := sign(path)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	s := newScanner(folder, DefaultTimes, func(problem string) { t.Error(problem) })
	now := time.Now().Add(time.Hour) // long after each change
	before := &file{seen: write(""), since: now}
	after := &file{seen: write(`{"image": "app"}`), since: now}
	if change, settled := s.read("web", before, now); change != nil || settled {
		t.Errorf("read %v, settled %t; want another look", change, settled)
	}
	if change, settled := s.read("web", after, now); change == nil || !settled {
		t.Errorf("read %v, settled %t; want the definition", change, settled)
	}
}
