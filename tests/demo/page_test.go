package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"service-manager/tests/load/traffic"

	"github.com/google/go-cmp/cmp"
)

func same(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func noEnvironment(string) string { return "" }

const longLine = `     Status: "rejected: web.3-2ba49…: exited with status 1: invalid port in 80800"`

func printAll(p *page) {
	p.heading("A service is one file")
	p.say("Debian's nginx, behind an address of its own in the kernel's load balancer.")
	p.live("  3 s  waiting …")
	p.command("cat > web.json <<END\n{}\nEND")
	p.live("  4 s  sent 12  lost 0  answers: one: 12, and this is too long to be shown")
	p.output(longLine + "\n\nlast\n")
	p.live("gone")
	p.endLive("")
	p.rows([]row{{label: "requests", value: "12 sent, 1 lost", colour: red}, {label: "revision one", value: "served until two did, and was removed"}})
}

func TestPageOfAFile(t *testing.T) {
	var out bytes.Buffer
	printAll(newPage(&out, noEnvironment))
	same(t, `
1  A service is one file

   Debian's nginx, behind an address of its own in the kernel's load
   balancer.

   $ cat > web.json <<END
   {}
   END
   `+longLine+`

   last
   requests      12 sent, 1 lost
   revision one  served until two did, and was removed
`, strings.ReplaceAll(out.String(), "   \n", "\n"))
}

func TestPageOfATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newPage(&out, noEnvironment)
	p.width, p.colours = 50, true
	printAll(p)
	const erase, end = "\r\x1b[K", "\x1b[0m"
	same(t, "\n\x1b[1m1  A service is one file"+end+`

   Debian's nginx, behind an address of its own in the kernel's load
   balancer.
`+erase+"   \x1b[36m  3 s  waiting …"+end+erase+`
   `+"\x1b[32m$"+end+" \x1b[1mcat > web.json <<END"+end+`
   {}
   END
`+erase+"   \x1b[36m  4 s  sent 12  lost 0  answers: one: 12, and…"+end+erase+
		`        Status: "rejected: web.3-2ba49…:
            exited with status 1: invalid port in
            80800"

   last
`+erase+"   \x1b[36mgone"+end+erase+
		"   \x1b[2mrequests"+end+"      \x1b[31m12 sent, 1 lost"+end+`
   `+"\x1b[2mrevision one"+end+`  served until two did, and was removed
`, strings.ReplaceAll(out.String(), "   \n", "\n"))
}

func TestColoursAreForTerminals(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if p := newPage(null, noEnvironment); p.colours || p.width != 0 {
		t.Errorf("a file that is no terminal has colours %t, width %d", p.colours, p.width)
	}
}

func report(sent, lost int, revisions map[string]int) traffic.Report {
	r := traffic.Report{Seconds: 99.2, Stopped: true, Total: traffic.Counts{Sent: sent, Lost: lost, Retried: 4}, Revisions: map[string]*traffic.Revision{}}
	for i, name := range []string{"one", "two", "three"} {
		if n := revisions[name]; n > 0 {
			at := time.Unix(int64(1000+10*i), 0)
			r.Revisions[name] = &traffic.Revision{Answers: n, First: traffic.Moment{Time: at}, Last: traffic.Moment{Time: at.Add(15 * time.Second)}}
		}
	}
	return r
}

func fine() outcome {
	return outcome{
		reports:  []traffic.Report{report(2313, 0, map[string]int{"one": 1450, "two": 863}), report(1822, 0, map[string]int{"two": 1822})},
		toAnswer: 9480 * time.Millisecond, docker: 5700 * time.Millisecond, draining: 5100 * time.Millisecond,
		good: "two", reason: "web.3-2ba49c17fcdbea66060380f5e839bcd5: exited with status 1 (exit-code; main process exited 1)",
	}
}

func TestSummary(t *testing.T) {
	var out bytes.Buffer
	newPage(&out, noEnvironment).rows(fine().rows())
	same(t, `   requests              4,135 sent, 0 lost
   answers               1,450 of revision one, 2,685 of two, 0 of three
   edit to first answer  9.5 s, of which Docker took 5.7 s to start it
   revision one          served until two did, drained for 5.1 s, and was
                         removed
   sent again            8, over a kept-alive connection that had been closed
                         meanwhile (clients do so, RFC 9110)
   revision two          is good, and served on while three failed
   revision three        rejected: web.3-2ba49…: exited with status 1
                         (exit-code; main process exited 1)
`, out.String())
	if err := fine().judge(); err != nil {
		t.Error(err)
	}
	if got, want := reported(fine().reports[0]), "99 s of load: sent 2,313, lost 0, answers: one 1,450, two 863"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*outcome)
		want  string
	}{
		"lost":        {func(o *outcome) { o.reports[1] = report(10, 3, map[string]int{"two": 7}) }, "3 of 2323 requests were lost"},
		"three":       {func(o *outcome) { o.reports[1] = report(10, 0, map[string]int{"two": 7, "three": 3}) }, "revision three, which is broken, answered 3 requests"},
		"no rollout":  {func(o *outcome) { o.reports = o.reports[1:] }, "revision one answered no request"},
		"fallen back": {func(o *outcome) { o.good = "one" }, `revision "one" is good, not two`},
		"no reason":   {func(o *outcome) { o.reason = "" }, "nothing says why revision three was rejected"},
	} {
		o := fine()
		c.spoil(&o)
		if err := o.judge(); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"-h"}, 0, "usage: demo"},
		{[]string{"--wrong"}, 2, "-wrong"},
		{[]string{"more"}, 2, "usage: demo"},
	} {
		var out, said bytes.Buffer
		if code := run(context.Background(), c.args, &out, &said, noEnvironment); code != c.code || !strings.Contains(said.String(), c.said) || out.Len() > 0 {
			t.Errorf("%q: exit code %d, %q", c.args, code, said.String())
		}
	}
}
