package running

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	one = strings.Repeat("1", 64)
	two = strings.Repeat("2", 64)
)

func TestNotes(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "containers"))
	if all, err := f.All(); err != nil || len(all) != 0 {
		t.Fatalf("All without a folder = %v, %v", all, err)
	}
	check := Check{URL: "http://a:b@172.17.0.2:80/", Headers: []string{"Host: x"}, Interval: time.Second, Timeout: 5 * time.Second, Failures: 3, RestartAfter: time.Minute}
	asked, silent := Container{ID: one, Name: "web", Unit: "web.service", PID: 7}, Container{ID: two, Name: "db", PID: 8}
	for _, err := range []error{f.Note(asked), f.Note(silent), f.NoteCheck(one, check), os.WriteFile(filepath.Join(string(f), "README"), nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	asked.Check = &check
	all, err := f.All()
	if want := []Container{asked, silent}; err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("All = %+v, %v\nwant %+v", all, err, want)
	}
	for _, path := range []string{string(f), filepath.Join(string(f), one+checkSuffix)} {
		if info, err := os.Stat(path); err != nil || info.Mode()&0o077 != 0 {
			t.Errorf("%s: others may use it: %v, %v", path, info.Mode(), err)
		}
	}
	if err := errors.Join(f.Forget(one), f.Forget(one)); err != nil {
		t.Error(err)
	}
	if all, err := f.All(); err != nil || len(all) != 1 || all[0].ID != two {
		t.Errorf("All after one was forgotten = %+v, %v", all, err)
	}
}

// An id comes from an environment.
func TestNoPath(t *testing.T) {
	f := Folder(t.TempDir())
	for _, id := range []string{"", "..", "../" + one, one[:12], one + "0", strings.ToUpper(strings.Repeat("a", 64)), one[:63] + "/"} {
		if err := f.NoteCheck(id, Check{}); err == nil {
			t.Errorf("a check of %q is noted", id)
		}
		if _, found, err := f.Read(id); found || err != nil {
			t.Errorf("Read(%q): %v, %v; want nothing", id, found, err)
		}
	}
	if entries, err := os.ReadDir(string(f)); err != nil || len(entries) != 0 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

func TestEnded(t *testing.T) {
	f := Folder(t.TempDir())
	if ended, err := f.Ended(one); ended || err != nil {
		t.Errorf("one that is not noted: ended %v, %v; want false", ended, err)
	}
	// This process is in no container of that name, and no process has the other id.
	for _, pid := range []int{os.Getpid(), 1 << 22} {
		if err := f.Note(Container{ID: one, PID: pid}); err != nil {
			t.Fatal(err)
		}
		if ended, err := f.Ended(one); !ended || err != nil {
			t.Errorf("process %d: ended %v, %v; want true", pid, ended, err)
		}
	}
}

// What a note holds is foreign text as far as this goes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"name":"web","unit":"web.service","pid":7}`), []byte(`{"url":"tcp://a:1","interval":1,"timeout":1,"failures":3}`))
	f.Add([]byte(`{`), []byte(``))
	folder := Folder(f.TempDir())
	f.Fuzz(func(t *testing.T, note, check []byte) {
		for suffix, text := range map[string][]byte{"": note, checkSuffix: check} {
			if err := os.WriteFile(filepath.Join(string(folder), one+suffix), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, found, err := folder.Read(one)
		if err == nil && (!found || c.ID != one) || err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("Read = %+v, %v, %q", c, found, err)
		}
		// The kernel is asked about any number.
		if p, err := c.Open(); err == nil {
			p.Close()
		}
	})
}
