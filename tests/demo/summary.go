package main

import (
	"errors"
	"fmt"
	"time"

	"service-manager/tests/load/traffic"
)

// An outcome is what the summary tells. Revisions go by what they answer: one,
// two, and three, which is broken.
type outcome struct {
	reports  []traffic.Report
	toAnswer time.Duration // from the edit to the first answer of two
	docker   time.Duration // how much of that Docker took to start the container
	draining time.Duration // how long one drained
	good     string        // what is good in the end
	reason   string        // why three was rejected
}

// counted returns the figures of all clients together.
func (o outcome) counted() (sent, lost, retried int, answers map[string]int) {
	answers = map[string]int{}
	for _, r := range o.reports {
		sent += r.Total.Sent
		lost += r.Total.Lost
		retried += r.Total.Retried
		for name, revision := range r.Revisions {
			answers[name] += revision.Answers
		}
	}
	return sent, lost, retried, answers
}

func (o outcome) rows() []row {
	sent, lost, retried, answers := o.counted()
	requests := row{label: "requests", value: fmt.Sprintf("%s sent, %s lost", number(sent), number(lost)), colour: green}
	if lost > 0 {
		requests.colour = red
	}
	rows := []row{requests,
		{label: "answers", value: fmt.Sprintf("%s of revision one, %s of two, %s of three", number(answers["one"]), number(answers["two"]), number(answers["three"]))},
		{label: "edit to first answer", value: seconds(o.toAnswer) + ", of which Docker took " + seconds(o.docker) + " to start it"},
		{label: "revision one", value: "served until two did, drained for " + seconds(o.draining) + ", and was removed"},
	}
	if retried > 0 {
		rows = append(rows, row{label: "sent again", value: number(retried) + ", over a kept-alive connection that had been closed meanwhile (clients do so, RFC 9110)"})
	}
	two := row{label: "revision two", value: "is good, and served on while three failed"}
	if o.good != "two" {
		two = row{label: "revision two", value: "is not good any more: " + o.good + " is", colour: red}
	}
	return append(rows, two, row{label: "revision three", value: "rejected: " + short(o.reason)})
}

// judge says what is wrong with the outcome.
func (o outcome) judge() error {
	var wrong []error
	sent, lost, _, answers := o.counted()
	if lost > 0 {
		wrong = append(wrong, fmt.Errorf("%d of %d requests were lost", lost, sent))
	}
	for _, name := range []string{"one", "two"} {
		if answers[name] == 0 {
			wrong = append(wrong, fmt.Errorf("revision %s answered no request", name))
		}
	}
	if answers["three"] > 0 {
		wrong = append(wrong, fmt.Errorf("revision three, which is broken, answered %d requests", answers["three"]))
	}
	if o.good != "two" {
		wrong = append(wrong, fmt.Errorf("revision %q is good, not two", o.good))
	}
	if o.reason == "" {
		wrong = append(wrong, errors.New("nothing says why revision three was rejected"))
	}
	return errors.Join(wrong...)
}
