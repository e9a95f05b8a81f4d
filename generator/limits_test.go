package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"service-manager/units/definition"
)

// revisionName returns the name of a revision.
func revisionName(generation int) string { return fmt.Sprintf("%d-%032x", generation, generation) }

// deploy writes the revisions of a service below root, the first of which is good
// and the last current.
func deploy(t testing.TB, root, service string, documents ...string) {
	t.Helper()
	dir := filepath.Join(root, "etc/service-manager/revisions", service)
	must(t, os.MkdirAll(dir, 0o700))
	for i, document := range documents {
		must(t, os.WriteFile(filepath.Join(dir, revisionName(i+1)+".json"), []byte(document), 0o600))
	}
	must(t, os.Symlink(revisionName(1)+".json", filepath.Join(dir, "good")))
	must(t, os.Symlink(revisionName(len(documents))+".json", filepath.Join(dir, "current")))
}

// sized returns a definition of that many bytes, with as many members as it may have.
func sized(size int) string {
	var b strings.Builder
	b.WriteString(`{"image":"registry.example/team/app:1.0","address":"172.17.0.1:7000","port":80,"environment":{"A":""`)
	for i := 0; i < 1000 && b.Len() < size-100; i++ {
		fmt.Fprintf(&b, `,"VARIABLE_%d":"%d"`, i, i)
	}
	b.WriteString(`},"command":["`)
	b.WriteString(strings.Repeat("%", max(0, size-b.Len()-3)))
	return b.String() + `"]}`
}

// The largest host that the limits allow takes less than a second, on a computer
// with nothing else to do; every reload of the host waits for it.
func TestLargestHost(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 32 MiB")
	}
	root := inMemory(t)
	document := sized(definition.MaxTotal / definition.MaxServices)
	if _, err := definition.Parse("web", revisionName(1), []byte(document)); err != nil {
		t.Fatal(err)
	}
	for i := range definition.MaxServices {
		deploy(t, root, fmt.Sprintf("service-%d", i), document, document)
	}
	out := inMemory(t)
	begin := time.Now()
	must(t, generate(out, root))
	took := time.Since(begin)
	t.Logf("FIGURE the generator, for the largest host, of %d services with two revisions each, %d MiB: %s", definition.MaxServices, 2*definition.MaxTotal>>20, took.Round(time.Millisecond))
	if took > 20*time.Second {
		t.Error("that is too long, however busy this computer is")
	}
	if units, _ := filepath.Glob(out + "/*.service"); len(units) != 3*definition.MaxServices {
		t.Errorf("%d units; want %d", len(units), 3*definition.MaxServices)
	}
}

// systemd reads no line of 1 MiB; the longest stays far below.
func TestLongestLine(t *testing.T) {
	for _, text := range []string{"\x7f", "%", `\`, `"`, "$", "ä", "\x01", ";", "a"} {
		root, out := t.TempDir(), t.TempDir()
		d := map[string]any{"image": "nginx", "address": "172.17.0.1:7000", "port": 80}
		var document []byte
		for n := 1000; len(document) == 0 || len(document) > definition.MaxSize; n -= 10 {
			words := slices.Repeat([]string{strings.Repeat(text, 62/len(text))}, n)
			d["entrypoint"], d["command"] = words[:n/2], words[n/2:]
			var err error
			document, err = json.Marshal(d)
			must(t, err)
		}
		deploy(t, root, "web", string(document))
		must(t, generate(out, root))
		longest := 0
		for _, content := range tree(t, out) {
			for line := range strings.Lines(content) {
				longest = max(longest, len(line))
			}
		}
		if t.Logf("%q: %d KiB", text, longest>>10); longest > 300<<10 {
			t.Errorf("%q: a line of %d bytes", text, longest)
		}
	}
}

// What is not a file is left out and named, and is not waited for.
func TestWhatIsNoFile(t *testing.T) {
	root, out := t.TempDir(), t.TempDir()
	deploy(t, root, "web", sized(1000))
	revisions := filepath.Join(root, "etc/service-manager/revisions")
	for service, spoil := range map[string]func(path string) error{
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"huge": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		},
	} {
		deploy(t, root, service, sized(1000))
		path := filepath.Join(revisions, service, revisionName(1)+".json")
		must(t, os.Remove(path))
		must(t, spoil(path))
	}
	must(t, syscall.Mkfifo(filepath.Join(revisions, "pipe"), 0o600))
	must(t, syscall.Mkfifo(filepath.Join(revisions, "web", "current.tmp"), 0o600))
	var stderr bytes.Buffer
	done := make(chan int)
	go func() { done <- run([]string{"--root", root, out}, io.Discard, &stderr, noEnvironment, noKernelLog) }()
	select {
	case code := <-done:
		if code != 1 {
			t.Errorf("exit code %d; want 1", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("the generator waits")
	}
	files := tree(t, out)
	if files["web@"+revisionName(1)+".service"] == "" {
		t.Error("the good service has no runner")
	}
	for _, want := range []string{"fifo", "link", "folder"} {
		if !strings.Contains(stderr.String(), want+" "+revisionName(1)+": read the revision: read "+filepath.Join(revisions, want)) {
			t.Errorf("%s is not named:\n%s", want, stderr.String())
		}
	}
	for _, want := range []string{"is not a regular file", "is too large", "pipe: is not the folder of a service", "current.tmp: is not a revision"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not said:\n%s", want, stderr.String())
		}
	}
}

// What exceeds the limits is left out and named, and what counts stays.
func TestMoreThanTheLimits(t *testing.T) {
	root, out := t.TempDir(), t.TempDir()
	documents := make([]string, definition.MaxRevisions+3)
	for i := range documents {
		documents[i] = sized(300)
	}
	deploy(t, root, "web", documents...)
	records := filepath.Join(root, "run/service-manager/web")
	must(t, os.MkdirAll(records, 0o700))
	for i := range documents {
		must(t, os.WriteFile(filepath.Join(records, revisionName(i+1)+".env"), nil, 0o600))
	}
	for i := range 2*definition.MaxServices + 1 {
		must(t, os.Mkdir(filepath.Join(root, "etc/service-manager/revisions", fmt.Sprintf("x%d", i)), 0o700))
	}
	err := generate(out, root)
	for _, want := range []string{"there are 4002 services, of which 4000 at most get units; left out: x998 x999",
		"web: 103 revisions have a run record, of which 100 at most get units; left out: those up to " + revisionName(3)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	files := tree(t, out)
	for generation, want := range map[int]bool{1: true, 2: false, 3: false, 4: true, 103: true} {
		if _, is := files["web@"+revisionName(generation)+".service"]; is != want {
			t.Errorf("a runner of revision %d: %v; want %v", generation, is, want)
		}
	}
}
