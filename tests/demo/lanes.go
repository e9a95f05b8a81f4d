package main

import (
	"slices"
	"strings"
	"time"
)

// laneWidth is how many columns a rollout takes.
const laneWidth = 60

// A phase of a revision begins with an event, and lasts until the next one.
type phase struct {
	begin string // a word of the events
	mark  string
}

var (
	oldPhases = []phase{{"", "█"}, {"draining", "▒"}, {"drained", "░"}, {"gone", " "}}
	newPhases = []phase{{"", " "}, {"starting", "░"}, {"first", "█"}}
)

const legend = "░ starts or stops   █ serves   ▒ drains"

// lanes draws a rollout: a row for each revision, from begin to the last event.
func lanes(begin time.Time, old, new string, events []event) []row {
	end := begin
	for _, e := range events {
		if e.when.After(end) {
			end = e.when
		}
	}
	return []row{
		{label: "revision " + old, value: lane(oldPhases, begin, end, events), drawn: true},
		{label: "revision " + new, value: lane(newPhases, begin, end, events), drawn: true},
		{label: "", value: legend, drawn: true},
	}
}

func lane(phases []phase, begin, end time.Time, events []event) string {
	var out strings.Builder
	for column := range laneWidth {
		now := begin.Add(end.Sub(begin) * time.Duration(column) / (laneWidth - 1))
		mark := " "
		for _, p := range phases {
			i := slices.IndexFunc(events, func(e event) bool { return e.word == p.begin })
			if p.begin == "" || i >= 0 && !now.Before(events[i].when) {
				mark = p.mark
			}
		}
		out.WriteString(mark)
	}
	return strings.TrimRight(out.String(), " ")
}
