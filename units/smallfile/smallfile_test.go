package smallfile

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWhatIsCreatedIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 1<<10 - 1, 1 << 10, 1<<10 + 1, 300 << 10} {
		path := filepath.Join(t.TempDir(), "file")
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		if err := Create(path, content, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path, 1<<20); err != nil || !bytes.Equal(got, content) {
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
	if _, err := Read(path, 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a missing file: %v", err)
	}
	if _, err := Read(dir, 1<<20); err == nil {
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
	if got, _ := Read(path, 1<<20); string(got) != "old" {
		t.Errorf("a file that was there became %q", got)
	}
	if err := Create("/dev/full", []byte("x"), 0o644); err == nil {
		t.Error("creating a device is no error")
	}
}

// What is not a regular file, or too large, is refused without waiting.
func TestReadIrregular(t *testing.T) {
	dir := t.TempDir()
	regular, link := filepath.Join(dir, "regular"), filepath.Join(dir, "link")
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	for _, err := range []error{
		Create(regular, []byte("0123456789"), 0o600),
		os.Symlink(regular, link),
		syscall.Mkfifo(fifo, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, path := range []string{link, fifo, socket, dir, "/dev/zero", "/dev/tty"} {
		if content, err := Read(path, 1<<20); !errors.Is(err, ErrIrregular) {
			t.Errorf("%s: %d bytes, %v; want that it is not a regular file", path, len(content), err)
		}
	}
	if _, err := Read(regular, 9); !errors.Is(err, ErrTooLarge) {
		t.Errorf("10 bytes of at most 9: %v", err)
	}
	if content, err := Read(regular, 10); err != nil || len(content) != 10 {
		t.Errorf("10 bytes of at most 10: %q, %v", content, err)
	}
	// It says that it has no bytes, and has some.
	if _, err := Read("/proc/self/status", 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that grows: %v", err)
	}
}
