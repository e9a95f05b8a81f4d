package smallfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWhatIsCreatedIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 1<<10 - 1, 1 << 10, 1<<10 + 1, 300 << 10} {
		path := filepath.Join(t.TempDir(), "file")
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		if err := Create(path, content, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
			t.Errorf("got %v, %v", info.Mode(), err)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a missing file: %v", err)
	}
	if _, err := Read(dir); err == nil {
		t.Error("reading a folder is no error")
	}
	if err := Create(filepath.Join(path, "below"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("creating a file in a missing folder: %v", err)
	}
	if err := Create(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("new"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating a file that is there: %v", err)
	}
	if got, _ := Read(path); string(got) != "old" {
		t.Errorf("a file that was there became %q", got)
	}
	if err := Create("/dev/full", []byte("x"), 0o644); err == nil {
		t.Error("creating a device is no error")
	}
}
