package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"service-manager/units/name"
)

// trace is what the files of a service show of its runners: which of them have a turn, so
// are in their start, and when revisions and marks last changed. To look at it costs
// next to nothing, unlike a question to systemd: that sends each client the changes of all
// units, so many that ask again and again keep it from its work.
type trace struct {
	starting         string
	revisions, marks time.Time
}

func (r rollout) trace(service name.Service) trace {
	changed := func(folder string) (t time.Time) {
		if info, err := os.Stat(folder); err == nil {
			t = info.ModTime()
		}
		return t
	}
	t := trace{
		revisions: changed(filepath.Join(r.store.Root, string(service))),
		marks:     changed(filepath.Join(r.store.Run, string(service))),
	}
	// What cannot be read shows nothing: those that wait look at systemd in the end.
	units, _ := r.turns().others("")
	for _, unit := range units {
		if strings.HasPrefix(unit, string(service)+"@") {
			t.starting += unit + " "
		}
	}
	return t
}

// rests is how long those that wait for something leave systemd alone, from look to look:
// twice as long each time, as long as the trace of the service stays the same.
type rests struct {
	rollout rollout
	service name.Service
	seen    trace
	next    time.Duration
}

const (
	firstRest = 100 * time.Millisecond
	// longRest is for what the trace is sure to show.
	longRest = 5 * time.Second
	// shortRest is for what only systemd knows.
	shortRest = time.Second
)

// rests is called before the first look.
func (r rollout) rests(service name.Service) *rests {
	return &rests{r, service, r.trace(service), firstRest}
}

// rest waits until it is time for the next look, no longer than longest, and reports
// whether the context has not ended. When the trace changes, the rests are short again: a
// start is over some moments after its last step.
func (r *rests) rest(ctx context.Context, longest time.Duration) bool {
	rest := min(r.next, longest)
	step := max(firstRest, rest/10)
	for left := rest; left > 0; left -= step {
		if !sleep(ctx, min(left, step)) {
			return false
		}
		if now := r.rollout.trace(r.service); now != r.seen {
			r.seen, r.next = now, firstRest
			return true
		}
	}
	r.next = 2 * rest
	return true
}
