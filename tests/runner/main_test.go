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

// module makes the working directory one with a package of this test file.
func module(t *testing.T, test string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GOFLAGS", "-mod=mod")
	for name, text := range map[string]string{"go.mod": "module example\n\ngo 1.24\n", "a_test.go": "package a\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" + test} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A test that fails is run again, alone, with its subtests.
func TestRetries(t *testing.T) {
	// fails reports whether something is done for the first time.
	const head = `func fails(t *testing.T, name string) {
	if _, err := os.Stat(name); err != nil {
		os.WriteFile(name, nil, 0o644)
		t.Error("the first time")
	}
}

`
	for _, c := range []struct {
		name, test, last string
		code             int
		contains         []string
		without          string
	}{
		{"flaky", `func TestA(t *testing.T) { fails(t, "a") }; func TestB(t *testing.T) {}`, "2 passed, 0 failed", 0,
			[]string{"the first time", "FLAKY example TestA: failed once, passed alone\n2 passed"}, ""},
		{"flaky subtest", `func TestA(t *testing.T) { t.Run("b", func(t *testing.T) { fails(t, "b") }); t.Run("c", func(t *testing.T) {}) }; func TestAA(t *testing.T) {}`,
			"4 passed, 0 failed", 0, []string{"again, alone: example TestA "}, "example TestAA: failed"},
		{"broken", `func TestA(t *testing.T) { fails(t, "a") }; func TestB(t *testing.T) { t.Error("always") }`, "1 passed, 1 failed", 1,
			[]string{"FLAKY example TestA", "FAIL  example TestB ("}, "FLAKY example TestB"},
		{"crashed", `func TestA(t *testing.T) { if _, err := os.Stat("a"); err != nil { os.WriteFile("a", nil, 0o644); panic("oh") } }`, "0 passed, 1 failed", 1,
			[]string{"panic: oh"}, "again"},
		{"many", `func TestA(t *testing.T) { t.Error() }
func TestB(t *testing.T) { t.Error() }
func TestC(t *testing.T) { t.Error() }
func TestD(t *testing.T) { t.Error() }
func TestE(t *testing.T) { t.Error() }
func TestF(t *testing.T) { t.Error() }
func TestG(t *testing.T) { fails(t, "g") }`, "0 passed, 7 failed", 1, []string{"7 tests failed; none is run again"}, "again, alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			module(t, head+c.test)
			var out bytes.Buffer
			s := newSummary(&out)
			s.tests(part{"tests", false, nil, "./..."})
			code, got := s.finish(), out.String()
			if !strings.HasSuffix(got, "\n"+c.last+"\n") || code != c.code {
				t.Errorf("exit status %d, want %d, and the last line %q:\n%s", code, c.code, c.last, got)
			}
			for _, want := range append(c.contains, "tests took ") {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
			if c.without != "" && strings.Contains(got, c.without) {
				t.Errorf("%q in:\n%s", c.without, got)
			}
		})
	}
}

func TestRetryForgivesNoRace(t *testing.T) {
	s := newSummary(&bytes.Buffer{})
	s.take(event{Action: "output", Package: "p/q", Test: "TestA/sub", Output: "WARNING: DATA RACE\n"}, false)
	s.take(event{Action: "fail", Package: "p/q", Test: "TestA/sub"}, false)
	s.take(event{Action: "fail", Package: "p/q", Test: "TestA"}, false)
	s.take(event{Action: "fail", Package: "p/q", Test: "TestB"}, false)
	if again := s.retriable(); len(again) != 1 || again[0].test != "TestB" {
		t.Errorf("retried: %v", again)
	}
}

// A test that hangs is ended, with what it has started.
func TestLimit(t *testing.T) {
	module(t, `func TestA(t *testing.T) { os.WriteFile("hangs", nil, 0o644); select {} }`)
	var out bytes.Buffer
	s := newSummary(&out)
	s.patience = 10 * time.Millisecond
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.goTest("a test", false, nil, "./...", time.Second)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it is not ended")
	}
	if code := s.finish(); code != 1 || !strings.Contains(out.String(), "it did not end within 1s\nFAIL  a test") {
		t.Errorf("exit status %d:\n%s", code, &out)
	}
}
