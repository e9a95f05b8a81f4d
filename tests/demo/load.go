package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

// What the load client sends, and for how long unless it is stopped.
const (
	newPerSecond   = 20
	keptAlive      = 4
	keptAlivePause = "500ms"
	loadLimit      = "10m"
	// An emulated processor on a busy host can be that slow. What takes longer
	// counts as lost.
	loadPatience = "60s"
)

// A load is a client that sends requests to the service, in the guest.
type load struct {
	guest   *vm.Guest
	command *vm.Command
	file    string
	latest  chan string // the newest line of its progress
}

// startLoad starts a client, which shows what it counts in the live line.
func (s *stage) startLoad(ctx context.Context) (*load, error) {
	s.loads++
	l := &load{guest: s.guest, file: fmt.Sprintf("/root/load-%d.json", s.loads), latest: make(chan string, 1)}
	line := fmt.Sprintf("load --progress --for %s --connections-per-second %d --keep-alive %d --keep-alive-pause %s --connect-timeout %s --answer-timeout %[5]s --out %s http://%s/",
		loadLimit, newPerSecond, keptAlive, keptAlivePause, loadPatience, l.file, address)
	begun := time.Now()
	show := &lineWriter{line: func(text string) {
		if counted := counts(text); counted != "" {
			s.page.live(fmt.Sprintf("%3.0f s  %s", time.Since(begun).Seconds(), counted))
			select {
			case <-l.latest:
			default:
			}
			l.latest <- counted
		}
	}}
	var err error
	l.command, err = s.guest.Start(ctx, line, nil, show)
	s.loading = err == nil
	return l, err
}

// endLoad ends a client, and prints and keeps its counts.
func (s *stage) endLoad(ctx context.Context, l *load) (traffic.Report, error) {
	report, err := l.stop(ctx)
	s.loading = false
	s.page.endLive("")
	if err != nil {
		return report, err
	}
	s.outcome.reports = append(s.outcome.reports, report)
	colour := green
	if report.Total.Lost > 0 {
		colour = red
	}
	s.page.print("")
	s.page.endLive(s.page.in(colour, reported(report)))
	for i, loss := range report.Losses {
		if i == 5 {
			s.page.print("   …")
			break
		}
		s.page.print("   lost at %s: %s, %s: %s", loss.Time.UTC().Format("15:04:05.000"), loss.Traffic, loss.Kind, loss.Error)
	}
	return report, nil
}

// answered waits until the client has an answer of that revision.
func (l *load) answered(ctx context.Context, revision string) error {
	late := time.After(patience * time.Second)
	for {
		select {
		case counted := <-l.latest:
			if regexp.MustCompile(`answers: .*\b` + revision + ` `).MatchString(counted) {
				return nil
			}
		case <-late:
			return fmt.Errorf("no answer of revision %s within %ds", revision, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the client after it has its last answers, and returns its counts.
func (l *load) stop(ctx context.Context) (traffic.Report, error) {
	var report traffic.Report
	if err := l.command.Signal(ctx, "TERM"); err != nil {
		return report, err
	}
	code, err := l.command.Wait()
	if err != nil {
		return report, err
	}
	if code != 0 {
		return report, fmt.Errorf("the load client ended with exit status %d", code)
	}
	text, err := l.guest.Output(ctx, "cat "+l.file)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return report, fmt.Errorf("the load client's report: %w", err)
	}
	if !report.Stopped {
		return report, fmt.Errorf("the load client ended by itself after %.0fs: the machine is too slow", report.Seconds)
	}
	return report, nil
}

var progress = regexp.MustCompile(`^[0-9.]+s: ([0-9]+) sent .*, ([0-9]+) lost, .*answers by revision: ([^;]*)`)

// counts returns the figures of a line of the client's progress, or "" when it
// is something else.
func counts(line string) string {
	m := progress.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return fmt.Sprintf("sent %s  lost %s  answers: %s", m[1], m[2], strings.ReplaceAll(m[3], ": ", " "))
}

// reported says what a client counted in the words of the live line.
func reported(r traffic.Report) string {
	return fmt.Sprintf("%.0f s of load: sent %s, lost %s, answers: %s", r.Seconds, number(r.Total.Sent), number(r.Total.Lost), byRevision(r))
}

// byRevision returns how many answers came from which revision, the first first.
func byRevision(r traffic.Report) string {
	var names []string
	for name := range r.Revisions {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return r.Revisions[a].First.Time.Compare(r.Revisions[b].First.Time) })
	for i, name := range names {
		names[i] = name + " " + number(r.Revisions[name].Answers)
	}
	return strings.Join(names, ", ")
}

// A lineWriter calls line for each whole line that is written to it.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.line(string(w.rest[:i]))
		w.rest = w.rest[i+1:]
	}
}
