package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tested runs the real go test -json on a package with these files, and returns
// what the summary said and its exit status.
func tested(t *testing.T, verbose bool, files map[string]string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example\n\ngo 1.24\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	events, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := newSummary(&out)
	s.read(bytes.NewReader(events), verbose)
	code := s.finish()
	return out.String(), code
}

func TestCounts(t *testing.T) {
	const head = "package a\n\nimport \"testing\"\n\n"
	for _, c := range []struct {
		name     string
		verbose  bool
		test     string
		last     string
		code     int
		contains []string
	}{
		{"tests and subtests", false, head + `func TestA(t *testing.T) { t.Run("b", func(t *testing.T) {}); t.Log("unseen") }`,
			"2 passed, 0 failed", 0, []string{"ok    example ("}},
		{"verbose", true, head + `func TestA(t *testing.T) { t.Log("a figure"); println("raw") }`,
			"1 passed, 0 failed", 0, []string{"a figure", "ok    example TestA ("}},
		{"a failure", false, head + `func TestA(t *testing.T) { t.Error("because") }; func TestB(t *testing.T) {}`,
			"1 passed, 1 failed", 1, []string{"because", "FAIL  example TestA ("}},
		{"a skipped test", false, head + `func TestA(t *testing.T) { t.Skip("no") }; func TestB(t *testing.T) {}`,
			"1 passed, 0 failed", 0, []string{"skipped 1: example TestA"}},
		{"does not compile", false, head + `func TestA(t *testing.T) { undefined() }`,
			"0 passed, 1 failed", 1, []string{"undefined: undefined"}},
		{"exits", false, head + `import "os"; func TestMain(m *testing.M) { m.Run(); os.Exit(3) }; func TestA(t *testing.T) {}`,
			"1 passed, 1 failed", 1, []string{"FAIL  example ("}},
		{"panics", false, head + `func TestA(t *testing.T) { panic("oh") }`,
			"0 passed, 1 failed", 1, []string{"panic: oh"}},
		{"no test", false, "package a\n", "0 passed, 0 failed", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.test
			if strings.Contains(text, `import "os"; `) { // imports come first
				text = strings.Replace(strings.Replace(text, `import "os"; `, "", 1), "import \"testing\"", "import \"testing\"\nimport \"os\"", 1)
			}
			got, code := tested(t, c.verbose, map[string]string{"a_test.go": text})
			lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
			if last := lines[len(lines)-1]; last != c.last || code != c.code {
				t.Errorf("last line %q, exit status %d; want %q, %d\n%s", last, code, c.last, c.code, got)
			}
			for _, want := range c.contains {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
		})
	}
}

func TestChecks(t *testing.T) {
	var out bytes.Buffer
	s := newSummary(&out)
	s.check("good", func() (string, error) { return "", nil })
	s.check("bad", func() (string, error) { return "file.go\n", errors.New("not formatted") })
	if code := s.finish(); code != 1 || !strings.HasSuffix(out.String(), "\n1 passed, 1 failed\n") || !strings.Contains(out.String(), "file.go\nnot formatted\nFAIL  bad\n") {
		t.Errorf("exit status %d, output:\n%s", code, &out)
	}
}

func TestHeartbeat(t *testing.T) {
	var out bytes.Buffer
	s := newSummary(&out)
	s.take(event{Action: "run", Package: "p", Test: "TestA"}, false)
	s.take(event{Action: "run", Package: "p", Test: "TestA/sub"}, false)
	s.beat(s.spoken.Add(time.Second), time.Minute)
	if out.Len() != 0 {
		t.Errorf("said %q too soon", &out)
	}
	s.beat(s.spoken.Add(2*time.Minute), time.Minute)
	if got := out.String(); !strings.Contains(got, "… p TestA/sub, for ") {
		t.Errorf("said %q", got)
	}
}
