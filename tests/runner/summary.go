package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A summary counts what passed and failed, and shows it as it happens.
type summary struct {
	mu       sync.Mutex
	out      io.Writer
	spoken   time.Time // when something was last printed
	passed   int
	skipped  []string
	flaky    []string
	parts    []string // and how long each took
	problems []problem
	running  map[string]time.Time     // by package and test
	logs     map[string]*bytes.Buffer // what a running test printed

	// Of the part that runs:
	failing map[string]bool          // packages with a failed test
	crashed map[string]bool          // packages whose other tests may not have run
	raced   map[string]bool          // tests of the top level with a data race
	order   []string                 // tests that failed
	took    map[string]time.Duration // how long those took

	interrupted *atomic.Bool
	patience    time.Duration // how long tests that were told to stop may clean up
}

// A problem is a failure, as it is shown, and the test or check that it is of.
type problem struct{ text, key string }

func newSummary(out io.Writer) *summary {
	s := &summary{out: out, spoken: time.Now(), running: map[string]time.Time{}, logs: map[string]*bytes.Buffer{}, interrupted: &atomic.Bool{}, patience: time.Minute}
	s.forget()
	return s
}

// forget begins a new part.
func (s *summary) forget() {
	s.failing, s.crashed, s.raced = map[string]bool{}, map[string]bool{}, map[string]bool{}
	s.order, s.took = nil, map[string]time.Duration{}
}

// part runs a part unless the run was interrupted, and says how long it took.
func (s *summary) part(name string, run func(*summary)) {
	if s.interrupted.Load() {
		return
	}
	s.say("== %s", name)
	s.mu.Lock()
	s.forget()
	s.mu.Unlock()
	begin := time.Now()
	run(s)
	took := fmt.Sprintf("%s took %s", name, time.Since(begin).Round(time.Second))
	s.say("== %s", took)
	s.parts = append(s.parts, took)
}

// skip says loudly that a part or check was left out, which is no failure.
func (s *summary) skip(what, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = append(s.skipped, what)
	s.print(fmt.Sprintf("SKIP  %s: %s", what, why))
}

// say prints a line.
func (s *summary) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print(fmt.Sprintf(format, args...))
}

func (s *summary) print(line string) {
	s.spoken = time.Now()
	fmt.Fprintln(s.out, line)
}

// failed counts a failure and shows why.
func (s *summary) failed(what, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, problem{what, what})
	if why = strings.TrimRight(why, "\n"); why != "" {
		s.print(why)
	}
	s.print("FAIL  " + what)
}

func (s *summary) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.problems)
}

// check runs one check, which counts like a test.
func (s *summary) check(what string, run func() (string, error)) {
	begin := time.Now()
	out, err := run()
	if err != nil {
		s.failed(what, out+err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed++
	s.print(fmt.Sprintf("ok    %s (%.1fs)", what, time.Since(begin).Seconds()))
}

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// read counts the events of a go test until it ends.
func (s *summary) read(in io.Reader, verbose bool) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				s.say("%s", bytes.TrimRight(line, "\n")) // go's own word, not a test's
			} else {
				s.take(e, verbose)
			}
		}
		if err != nil {
			return
		}
	}
}

// take counts one event.
func (s *summary) take(e event, verbose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Package == "" {
		e.Package = e.ImportPath // of a build
	}
	key := strings.TrimSpace(e.Package + " " + e.Test)
	switch e.Action {
	case "run":
		s.running[key] = time.Now()
	case "output", "build-output":
		s.log(key, e, verbose)
	case "build-fail":
		// Shown here, counted at the end of each package that needs it.
		if log := s.logs[key]; log != nil && !verbose {
			s.print(strings.TrimRight(log.String(), "\n"))
		}
		delete(s.logs, key)
	case "pass", "fail", "skip":
		delete(s.running, key)
		s.end(key, e, verbose)
		delete(s.logs, key)
	}
}

// log keeps what a test printed, and shows it at once when verbose.
func (s *summary) log(key string, e event, verbose bool) {
	s.judge(e)
	frame := strings.TrimLeft(e.Output, " ")
	for _, p := range []string{"=== ", "--- ", "PASS", "FAIL\t", "FAIL\n", "ok  \t", "?   \t"} {
		if strings.HasPrefix(frame, p) {
			return // go test's own frame around what tests say
		}
	}
	if verbose {
		s.print("      " + strings.TrimRight(e.Output, "\n"))
	}
	if s.logs[key] == nil {
		s.logs[key] = &bytes.Buffer{}
	}
	s.logs[key].WriteString(e.Output)
}

// judge notes what makes a failure one that a second run cannot excuse.
func (s *summary) judge(e event) {
	switch text := e.Output; {
	case strings.HasPrefix(text, "panic: "), strings.HasPrefix(text, "fatal error: "), strings.HasPrefix(text, "signal: "),
		e.Test == "" && strings.HasPrefix(text, "exit status ") && text != "exit status 1\n":
		s.crashed[e.Package] = true
	case strings.HasPrefix(text, "WARNING: DATA RACE"), strings.Contains(text, "race detected during execution of test"):
		top, _, _ := strings.Cut(e.Test, "/")
		s.raced[e.Package+" "+top] = true
	}
}

// end counts the end of a test, or of a package when e.Test is empty.
func (s *summary) end(key string, e event, verbose bool) {
	took := fmt.Sprintf("%s (%.1fs)", key, e.Elapsed)
	switch {
	case e.Test == "" && e.Action == "fail":
		// A package that failed without a failed test did not build, crashed, or
		// ran out of time.
		if !s.failing[e.Package] {
			s.fail(took, key, false)
		}
	case e.Test == "":
		if e.Action == "pass" && !verbose {
			s.print("ok    " + took)
		}
	case e.Action == "fail":
		s.failing[e.Package] = true
		s.order = append(s.order, key)
		s.took[key] = time.Duration(e.Elapsed * float64(time.Second))
		s.fail(took, key, verbose)
	case e.Action == "skip":
		s.skipped = append(s.skipped, key)
		s.print("skip  " + took)
	default:
		s.passed++
		if verbose {
			s.print("ok    " + took)
		}
	}
}

// fail counts a failure, and shows the log of key unless it was shown already.
func (s *summary) fail(what, key string, shown bool) {
	s.problems = append(s.problems, problem{what, key})
	if log := s.logs[key]; log != nil && !shown {
		s.print(strings.TrimRight(log.String(), "\n"))
	}
	s.print("FAIL  " + what)
}

// heartbeat says what runs whenever nothing was said for a while. The function
// that it returns ends it.
func (s *summary) heartbeat(silence time.Duration) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(silence / 4)
	go func() {
		for {
			select {
			case <-done:
				ticker.Stop()
				return
			case now := <-ticker.C:
				s.beat(now, silence)
			}
		}
	}()
	return func() { close(done) }
}

func (s *summary) beat(now time.Time, silence time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.spoken) < silence {
		return
	}
	// The innermost subtest says most.
	longest := ""
	for key := range s.running {
		if strings.Count(key, "/") >= strings.Count(longest, "/") {
			longest = key
		}
	}
	if longest == "" {
		s.print("      … building")
		return
	}
	s.print(fmt.Sprintf("      … %s, for %.0fs now", longest, now.Sub(s.running[longest]).Seconds()))
}

// finish prints the closing lines and returns the exit status.
func (s *summary) finish() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.skipped) > 0 {
		s.print(fmt.Sprintf("skipped %d: %s", len(s.skipped), strings.Join(s.skipped, ", ")))
	}
	for _, p := range s.parts {
		s.print(p)
	}
	for _, line := range s.flaky {
		s.print(line)
	}
	for _, p := range s.problems {
		s.print("FAIL  " + p.text)
	}
	s.print(fmt.Sprintf("%d passed, %d failed", s.passed, len(s.problems)))
	if len(s.problems) > 0 || s.passed == 0 {
		return 1
	}
	return 0
}
