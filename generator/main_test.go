package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the generator gives to the golden cases")

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"service-manager-generator": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// tree returns the files below dir, and links as "-> " and their target.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir || entry != nil && entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if entry.Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			files[name] = "-> " + target + "\n"
			return err
		}
		content, err := os.ReadFile(path)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noEnvironment(string) string { return "" }

func noKernelLog() (io.WriteCloser, error) { return nil, errors.New("no kernel log in a test") }

// Under systemd, problems go to the kernel log, one write for each. Releases before 251
// set nothing in the environment.
func TestKernelLog(t *testing.T) {
	for name, test := range map[string]struct {
		scope  string
		more   []string // folders
		kernel bool
	}{
		"by hand":     {"", nil, false},
		"systemd":     {"system", []string{t.TempDir(), t.TempDir()}, true},
		"systemd 250": {"", []string{t.TempDir(), t.TempDir()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			log := &kernelLogFile{}
			env := func(name string) string { return map[string]string{"SYSTEMD_SCOPE": test.scope}[name] }
			open := func() (io.WriteCloser, error) { return log, nil }
			var stderr bytes.Buffer
			args := append([]string{"--root", unpack(t, goldens(t)["damaged"].input), t.TempDir()}, test.more...)
			code := run(args, io.Discard, &stderr, env, open)
			if code != 1 || (stderr.Len() == 0) != test.kernel || (len(log.writes) >= 3) != test.kernel || log.closed != test.kernel {
				t.Errorf("exit code %d, stderr %q, kernel log %+v; want 1 and several closed writes: %v", code, stderr.String(), log, test.kernel)
			}
			for _, w := range log.writes {
				if strings.Count(w, "\n") != 1 || !strings.HasSuffix(w, "\n") || !strings.HasPrefix(w, "<3>service-manager-generator: error: ") {
					t.Errorf("the write %q is not one line with a priority", w)
				}
			}
		})
	}
}

// The kernel's log is short, and refuses long messages.
func TestKernelLogIsShort(t *testing.T) {
	log := &kernelLogFile{}
	report(errors.New(strings.Repeat("a\n", 1000)+"b"), problems{log, true})
	if n := len(log.writes); n != maxProblems+1 || log.writes[n-1] != "<3>service-manager-generator: error: and 901 more; run service-manager-generator --dry-run\n" {
		t.Errorf("%d messages, the last is %q", n, log.writes[n-1])
	}
	log = &kernelLogFile{}
	report(errors.New(strings.Repeat("x\x00\r", 1000)), problems{log, true})
	if n := len(log.writes[0]); n > 976 || !strings.HasSuffix(log.writes[0], "…\n") || strings.ContainsAny(log.writes[0], "\x00\r") {
		t.Errorf("a message of %d bytes: %q", n, log.writes[0])
	}
}

type kernelLogFile struct {
	writes []string
	closed bool
}

func (f *kernelLogFile) Write(p []byte) (int, error) {
	f.writes = append(f.writes, string(p))
	return len(p), nil
}
func (f *kernelLogFile) Close() error { f.closed = true; return nil }

// In the initial RAM disk there is no host to manage yet.
func TestInitrd(t *testing.T) {
	out := t.TempDir()
	env := func(name string) string { return map[string]string{"SYSTEMD_IN_INITRD": "1"}[name] }
	if code := run([]string{"--root", unpack(t, goldens(t)["good"].input), out}, io.Discard, io.Discard, env, noKernelLog); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
	if files := tree(t, out); len(files) > 0 {
		t.Errorf("wrote %v; want nothing", files)
	}
	// Releases before 251 do not say so.
	root := t.TempDir()
	deploy(t, root, "web", sized(300))
	must(t, os.WriteFile(filepath.Join(root, "etc/initrd-release"), nil, 0o644))
	if code := run([]string{"--root", root, out}, io.Discard, io.Discard, noEnvironment, noKernelLog); code != 0 || len(tree(t, out)) > 0 {
		t.Errorf("exit code %d and %v; want 0 and nothing", code, tree(t, out))
	}
}

// One file that cannot be written must not keep the others from being written.
func TestUnwritable(t *testing.T) {
	out := t.TempDir()
	must(t, os.WriteFile(filepath.Join(out, "service-manager.target.d"), nil, 0o644))
	var stderr bytes.Buffer
	if code := run([]string{"--root", unpack(t, goldens(t)["good"].input), out}, io.Discard, &stderr, noEnvironment, noKernelLog); code != 1 {
		t.Errorf("exit code %d; want 1", code)
	}
	if !strings.Contains(stderr.String(), "write service-manager.target.d/managers.conf") {
		t.Errorf("stderr = %q; want the file that was not written", stderr.String())
	}
	if _, ok := tree(t, out)["web@manager.service"]; !ok {
		t.Error("web@manager.service was not written")
	}
}

// BenchmarkGenerate measures a whole run: reading, rendering and writing.
func BenchmarkGenerate(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			root := b.TempDir()
			for i := range n {
				service := fmt.Sprintf("service-%d", i)
				const name = "2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d"
				dir := filepath.Join(root, "etc/service-manager/revisions", service)
				must(b, os.MkdirAll(dir, 0o755))
				document := fmt.Sprintf(`{"_id":%q,"_rev":%q,"image":"registry.example/team/%s:1.0","address":"172.17.0.1:%d","port":80,
					"environment":{"DATABASE_URL":"postgres://db/%s","LOG_LEVEL":"info"},"volumes":["/srv/%s:/data"]}`, service, name, service, 7000+i, service, service)
				must(b, os.WriteFile(filepath.Join(dir, name+".json"), []byte(document), 0o600))
				must(b, os.Symlink(name+".json", filepath.Join(dir, "current")))
				must(b, os.Symlink(name+".json", filepath.Join(dir, "good")))
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				out := inMemory(b) // systemd empties the folder before each run
				b.StartTimer()
				must(b, generate(out, root))
			}
		})
	}
}

// inMemory returns a folder like the one that systemd gives to generators, which
// is on a file system in memory.
func inMemory(b testing.TB) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "generator")
	must(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
