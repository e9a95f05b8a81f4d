// Package recurring keeps a problem that comes at every attempt, such as a server that
// does not answer, from filling the log: it is news when it comes and when it changes, and
// it is counted until it has gone.
package recurring

import "service-manager/units/printable"

// Problem is what was wrong at the last attempt. The zero value is nothing.
type Problem struct {
	text  string
	times int
}

// News records what is wrong now, which is not empty, and reports whether that differs
// from what was wrong before.
func (p *Problem) News(text string) bool {
	news := text != p.text
	p.text = text
	p.times++
	return news
}

// Gone records that nothing is wrong any more. It returns how often something was, like
// "12 failed attempts", or the empty string when nothing was.
func (p *Problem) Gone() (after string) {
	times := p.times
	*p = Problem{}
	if times == 0 {
		return ""
	}
	return printable.Count(times, "failed attempt")
}
