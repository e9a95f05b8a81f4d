package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// golden is a case in testdata/golden: a host, and what the generator makes of it. In its
// file, input is the root of the host, expected the folder of units, stderr the messages;
// a link is "-> " and its target.
type golden struct {
	path     string
	comment  []byte
	input    map[string]string
	expected map[string]string
	stderr   string
}

// goldens reads all cases, by name.
func goldens(t *testing.T) map[string]*golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	cases := map[string]*golden{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		must(t, err)
		g := &golden{path, archive.Comment, map[string]string{}, map[string]string{}, ""}
		for _, file := range archive.Files {
			folder, name, _ := strings.Cut(file.Name, "/")
			switch folder {
			case "input":
				g.input[name] = string(file.Data)
			case "expected":
				g.expected[name] = string(file.Data)
			case "stderr":
				g.stderr = string(file.Data)
			default:
				t.Fatalf("%s: %s is neither input nor expected", path, file.Name)
			}
		}
		cases[strings.TrimSuffix(filepath.Base(path), ".txtar")] = g
	}
	return cases
}

// unpack writes files below a new folder.
func unpack(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(strings.TrimSuffix(target, "\n"), path))
			continue
		}
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// store writes what the generator produces now.
func (g *golden) store(t *testing.T, files map[string]string, stderr string) {
	t.Helper()
	archive := txtar.Archive{Comment: g.comment}
	add := func(folder string, files map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			archive.Files = append(archive.Files, txtar.File{Name: folder + name, Data: []byte(files[name])})
		}
	}
	add("input/", g.input)
	add("expected/", files)
	if stderr != "" {
		add("", map[string]string{"stderr": stderr})
	}
	must(t, os.WriteFile(g.path, txtar.Format(&archive), 0o644))
	g.expected, g.stderr = files, stderr
}

func TestGolden(t *testing.T) {
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			input := unpack(t, g.input)
			generate := func() (files map[string]string, said string) {
				out := t.TempDir()
				var stdout, stderr bytes.Buffer
				code := run([]string{"--root", input, out}, &stdout, &stderr, noEnvironment, noKernelLog)
				if want := min(1, stderr.Len()); code != want {
					t.Errorf("exit code %d; want %d", code, want)
				}
				if stdout.Len() > 0 {
					t.Errorf("standard output %q; want none", stdout.String())
				}
				return tree(t, out), strings.ReplaceAll(stderr.String(), input, "")
			}
			files, said := generate()
			if *update {
				g.store(t, files, said)
			}
			if diff := cmp.Diff(g.expected, files); diff != "" {
				t.Errorf("generated (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(g.stderr, said); diff != "" {
				t.Errorf("said (-want +got):\n%s", diff)
			}
			if again, _ := generate(); !maps.Equal(files, again) {
				t.Errorf("a second run gives other bytes:\n%s", cmp.Diff(files, again))
			}
		})
	}
}
