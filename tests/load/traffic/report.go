package traffic

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says how a request was lost.
type Kind string

const (
	Refused          Kind = "refused"
	NoRoute          Kind = "no-route"
	ConnectTimeout   Kind = "connect-timeout"
	AnswerTimeout    Kind = "answer-timeout"
	ResetBeforeReply Kind = "reset-before-answer"
	ResetInReply     Kind = "reset-in-answer"
	EOFBeforeReply   Kind = "eof-before-answer"
	EOFInReply       Kind = "eof-in-answer"
	BadStatus        Kind = "bad-status"
	Malformed        Kind = "malformed-answer"
	// Client is a failure on the client's side, such as no free local port: it
	// spoils the measurement, and is counted as lost so that it is not overlooked.
	Client Kind = "client"
)

// maxLosses is how many losses a report lists one by one.
const maxLosses = 50

// A Report is what a run of traffic counted. Durations are in seconds.
type Report struct {
	URL     string    `json:"url"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Stopped bool      `json:"stopped"` // before its time, by a signal

	Total     Counts `json:"total"`
	New       Counts `json:"new"`        // a connection for each request
	KeepAlive Counts `json:"keep_alive"` // many requests on one connection
	Slow      Counts `json:"slow"`       // requests that take long by themselves

	Revisions map[string]*Revision `json:"revisions"`
	Losses    []Loss               `json:"losses"` // the first 50
}

// Counts are the figures of one kind of traffic.
type Counts struct {
	Sent       int          `json:"sent"`
	Answered   int          `json:"answered"`
	Lost       int          `json:"lost"`
	LostByKind map[Kind]int `json:"lost_by_kind,omitempty"`
	// Retried requests met the end of a kept-alive connection before any byte
	// of an answer, and were sent again on a new one, as RFC 9110 §9.2.2
	// has clients do. They are answered or lost as well.
	Retried int `json:"retried"`
	// SlowestAnswer is from the start of the connection (of the request, when
	// it is kept alive) to the end of the answer, less the time that a slow
	// request asked for.
	SlowestConnect   float64 `json:"slowest_connect"`
	SlowestAnswer    float64 `json:"slowest_answer"`
	ConnectsOverASec int     `json:"connects_over_1s"`
	AnswersOverASec  int     `json:"answers_over_1s"`
	// Skipped requests were due while too many were outstanding.
	Skipped int `json:"skipped"`
}

// A Revision is the answers that carried one X-Revision header.
type Revision struct {
	Answers int    `json:"answers"`
	First   Moment `json:"first"`
	Last    Moment `json:"last"`
}

// A Moment is a time by both clocks: the guest's wall clock, and seconds since
// the start of the run.
type Moment struct {
	Time  time.Time `json:"time"`
	After float64   `json:"after"`
}

// A Loss is one lost request.
type Loss struct {
	Moment
	Traffic string  `json:"traffic"` // new, keep-alive, slow
	Kind    Kind    `json:"kind"`
	Error   string  `json:"error"`
	Seconds float64 `json:"seconds"` // since the request began
	Local   string  `json:"local,omitempty"`
}

// String describes a report in one line.
func (r Report) String() string {
	var revisions []string
	for name := range r.Revisions {
		revisions = append(revisions, name)
	}
	slices.SortFunc(revisions, func(a, b string) int {
		return r.Revisions[a].First.Time.Compare(r.Revisions[b].First.Time)
	})
	for i, name := range revisions {
		revisions[i] = fmt.Sprintf("%s: %d", name, r.Revisions[name].Answers)
	}
	t := r.Total
	line := fmt.Sprintf("%.1fs: %d sent (%d new, %d keep-alive, %d slow), %d lost, %d retried, slowest %.2fs, %d over 1s; answers by revision: %s",
		r.Seconds, t.Sent, r.New.Sent, r.KeepAlive.Sent, r.Slow.Sent, t.Lost, t.Retried, t.SlowestAnswer, t.AnswersOverASec, strings.Join(revisions, ", "))
	if t.Skipped > 0 {
		line += fmt.Sprintf("; %d skipped", t.Skipped)
	}
	if t.Lost > 0 {
		var kinds []string
		for kind, n := range t.LostByKind {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
		}
		slices.Sort(kinds)
		line += "; lost: " + strings.Join(kinds, ", ")
	}
	return line
}

// recorder collects a report while requests run.
type recorder struct {
	mu     sync.Mutex
	start  time.Time
	begun  func() // called at the first answer, unless nil
	report Report
}

func (r *recorder) moment(t time.Time) Moment {
	return Moment{Time: t.Round(0), After: t.Sub(r.start).Seconds()}
}

// counts returns the figures of one kind of traffic.
func (r *Report) counts(traffic string) *Counts {
	switch traffic {
	case "keep-alive":
		return &r.KeepAlive
	case "slow":
		return &r.Slow
	}
	return &r.New
}

// each changes the figures of one kind of traffic and the total alike.
func (r *recorder) each(traffic string, change func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.report.counts(traffic))
	change(&r.report.Total)
}

func (r *recorder) sent(traffic string)    { r.each(traffic, func(c *Counts) { c.Sent++ }) }
func (r *recorder) retried(traffic string) { r.each(traffic, func(c *Counts) { c.Retried++ }) }
func (r *recorder) skipped(traffic string) { r.each(traffic, func(c *Counts) { c.Skipped++ }) }

// answered records an answer that took connect and total seconds.
func (r *recorder) answered(traffic, revision string, connect, total time.Duration) {
	r.each(traffic, func(c *Counts) {
		c.Answered++
		c.time(connect, total)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.moment(time.Now())
	seen := r.report.Revisions[revision]
	if seen == nil {
		seen = &Revision{First: now}
		r.report.Revisions[revision] = seen
	}
	seen.Answers++
	seen.Last = now
	if r.begun != nil {
		r.begun()
		r.begun = nil
	}
}

func (c *Counts) time(connect, total time.Duration) {
	c.SlowestConnect = max(c.SlowestConnect, connect.Seconds())
	c.SlowestAnswer = max(c.SlowestAnswer, total.Seconds())
	if connect > time.Second {
		c.ConnectsOverASec++
	}
	if total > time.Second {
		c.AnswersOverASec++
	}
}

func (r *recorder) lost(traffic string, loss *lossError, began time.Time) {
	r.each(traffic, func(c *Counts) {
		c.Lost++
		if c.LostByKind == nil {
			c.LostByKind = map[Kind]int{}
		}
		c.LostByKind[loss.kind]++
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.report.Losses) < maxLosses {
		now := time.Now()
		r.report.Losses = append(r.report.Losses, Loss{
			Moment: r.moment(now), Traffic: traffic, Kind: loss.kind, Error: loss.Error(),
			Seconds: now.Sub(began).Seconds(), Local: loss.local,
		})
	}
}

// snapshot returns a copy of what was counted until now.
func (r *recorder) snapshot() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := r.report
	copied.Seconds = time.Since(r.start).Seconds()
	copied.Losses = slices.Clone(copied.Losses)
	copied.Revisions = make(map[string]*Revision, len(r.report.Revisions))
	for name, revision := range r.report.Revisions {
		one := *revision
		copied.Revisions[name] = &one
	}
	for _, c := range []*Counts{&copied.Total, &copied.New, &copied.KeepAlive, &copied.Slow} {
		kinds := make(map[Kind]int, len(c.LostByKind))
		for kind, n := range c.LostByKind {
			kinds[kind] = n
		}
		c.LostByKind = kinds
	}
	return copied
}
