package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// maxRetries is how many tests of a part may fail before none of them is run
	// again: then something is broken, and not the luck of one test.
	maxRetries = 6
	// retryBase is what a retry may take beyond several times what the first run of
	// the test took: a build, and a machine to be made.
	retryBase = 3 * time.Minute
	// longestRetry bounds every retry.
	longestRetry = 20 * time.Minute
)

// A failure is a test of the top level that failed, itself or in its subtests.
type failure struct {
	pkg, test string
	took      time.Duration
}

func (f failure) String() string { return f.pkg + " " + f.test }

// limit is how long the retry may take.
func (f failure) limit() time.Duration {
	return min(retryBase+3*f.took, longestRetry).Round(time.Second)
}

// retriable returns the failures of the last part that deserve a second chance.
// Neither a data race nor a crash does: a race is a defect however seldom it
// shows, and a crash takes the other tests of its package with it.
func (s *summary) retriable() []failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	failures := slices.DeleteFunc(s.failedTests(), func(f failure) bool {
		return s.crashed[f.pkg] || s.raced[f.String()]
	})
	if len(failures) > maxRetries {
		s.print(fmt.Sprintf("%d tests failed; none is run again", len(failures)))
		return nil
	}
	return failures
}

// failedTests returns the tests of the top level that failed in the last part.
func (s *summary) failedTests() []failure {
	var failures []failure
	for _, key := range s.order {
		pkg, test, _ := strings.Cut(key, " ")
		if top, _, sub := strings.Cut(test, "/"); !sub && top != "" {
			failures = append(failures, failure{pkg, top, s.took[key]})
		}
	}
	return failures
}

// belongs reports whether a problem is of that test or of its subtests.
func (f failure) belongs(p problem) bool {
	return p.key == f.String() || strings.HasPrefix(p.key, f.String()+"/")
}

// forgive counts a test that failed, and then passed when it ran alone, as passed.
func (s *summary) forgive(f failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.problems)
	s.problems = slices.DeleteFunc(s.problems, f.belongs)
	s.passed += before - len(s.problems)
	line := fmt.Sprintf("FLAKY %s: failed once, passed alone", f)
	s.flaky = append(s.flaky, line)
	s.print(line)
}

// retry runs each test that failed again, alone.
func (s *summary) retry(p part) {
	for _, f := range s.retriable() {
		if s.interrupted.Load() {
			return
		}
		limit := f.limit()
		s.say("== again, alone: %s (at most %s)", f, limit)
		again := newSummary(s.out)
		again.interrupted = s.interrupted
		args := append(slices.Clone(p.args), "-count", "1", "-timeout", limit.String(), "-run", "^"+regexp.QuoteMeta(f.test)+"$")
		stop := again.heartbeat(silence)
		// It ends itself at its limit; what does not is ended.
		again.goTest(f.String(), p.verbose, args, f.pkg, limit+time.Minute)
		stop()
		if again.failures() == 0 && again.passed > 0 {
			s.forgive(f)
		}
	}
}
