package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

// An event is something that happened in a rollout, by the guest's clock.
type event struct {
	word string // of meanings, or first, last: answers
	when time.Time
	what string
}

// observe prints when what happened, a word and seconds since 1970 a line, from
// where each is recorded: $old, $new: revisions, $since: seconds since 1970.
const observe = `
unit() { local t; t=$(systemctl show --timestamp=us+utc -P "$2" "web@$new.service"); [ -z "$t" ] || printf '%s %s\n' "$1" "$(date -d "$t" +%s.%N)"; }
journal() { journalctl -o short-unix --no-pager --since "@$since" "${@:3}" | grep -m 1 -e "$2" | sed "s/^\([0-9.]*\) .*/$1 \1/"; }
container() { docker events --since "$since" --until "$(date +%s.%N)" --filter type=container --filter "container=web.$2" --filter "event=$3" --format '{{.TimeNano}}' |
  tail -n 1 | sed -E "s/^([0-9]+)([0-9]{9})$/$1 \1.\2/"; }
journal stored "web $new: is current" -u sm-fetch.service
unit starting InactiveExitTimestamp
unit image ExecMainStartTimestamp
container up "$new" start
journal healthy '" 200 .*sm-healthcheck' -u "web@$new.service"
printf 'accepted %s\n' "$(stat -c %.9Y /etc/service-manager/revisions/web/good)"
journal draining Stopping _PID=1 "UNIT=web@$old.service"
container drained "$old" kill
container gone "$old" destroy
`

// meanings are the words of observe, and what they mean to a reader. OLD and
// NEW are the revisions.
var meanings = map[string]string{
	"stored":   "sm-fetch has validated and stored NEW; systemd reloads",
	"starting": "systemd starts the runner web@NEW",
	"image":    "its image is there (sm-docker-run pull)",
	"up":       "its container is up (sm-docker-run run)",
	"healthy":  "it answers its health check, and has to hold for 2 s (sm-healthcheck)",
	"accepted": "it is good from now on (sm-rollout accept)",
	"draining": "web@OLD gets no new connections and drains (sm-ipvs drain)",
	"drained":  "the drain is over: its container is told to stop",
	"gone":     "its container is gone",
}

// observed returns the events of a rollout from one revision to another.
func observed(ctx context.Context, g *vm.Guest, old, new string, since time.Time) ([]event, error) {
	text, err := g.Output(ctx, fmt.Sprintf("old=%s new=%s since=%d.%09d\n%s", old, new, since.Unix(), since.Nanosecond(), observe))
	if err != nil {
		return nil, err
	}
	return parseEvents(text, old, new)
}

func parseEvents(text, old, new string) ([]event, error) {
	names := strings.NewReplacer("OLD", short(old), "NEW", short(new))
	var events []event
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		word, stamp, _ := strings.Cut(line, " ")
		meaning, ok := meanings[word]
		when, err := unixTime(stamp)
		if !ok || err != nil {
			return nil, fmt.Errorf("timeline: %q is no event", line)
		}
		events = append(events, event{word, when, names.Replace(meaning)})
	}
	return events, nil
}

// unixTime parses seconds since 1970 with a fraction, without losing digits of it.
func unixTime(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	ns, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(s, ns), err
}

// answered returns the events that the load's report tells of.
func answered(r traffic.Report, old, new string) []event {
	var events []event
	if n := r.Revisions[new]; n != nil {
		events = append(events, event{"first", n.First.Time, "first answer of revision " + new + ": it is in the load balancer (sm-ipvs add)"})
	}
	if o := r.Revisions[old]; o != nil {
		events = append(events, event{"last", o.Last.Time, "last answer of revision " + old})
	}
	return events
}

// between returns the time from one event to another, 0 without them.
func between(events []event, begin, end string) time.Duration {
	b := slices.IndexFunc(events, func(e event) bool { return e.word == begin })
	e := slices.IndexFunc(events, func(e event) bool { return e.word == end })
	if b < 0 || e < 0 {
		return 0
	}
	return events[e].when.Sub(events[b].when)
}

// timeline returns the events in order, with the time of each since begin.
func timeline(begin time.Time, events []event) []row {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b event) int { return a.when.Compare(b.when) })
	rows := make([]row, len(events))
	for i, e := range events {
		rows[i] = row{label: fmt.Sprintf("%6.1f s", e.when.Sub(begin).Seconds()), value: e.what}
	}
	return rows
}
