package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"service-manager/tests/load/traffic"
)

func TestTable(t *testing.T) {
	same(t, `UNIT                  ACTIVE        SUB           JOB
web@1-b79d8….service  deactivating  stop-sigterm  stop
web@2-0c310….service  active        running
web@manager.service   active        exited
`, table("UNIT", "ACTIVE", "SUB", "JOB")(`  UNIT                                           LOAD   ACTIVE       SUB          JOB  DESCRIPTION
  web@1-b79d81d8cd71137f396ab1e82eefdfcc.service loaded deactivating stop-sigterm stop web 1-b79d81d8cd71137f396ab1e82eefdfcc (nginx:1)
  web@2-0c3101321f7e5fc6d310e52f3979b84c.service loaded active       running           web 2-0c3101321f7e5fc6d310e52f3979b84c (nginx:1)
  web@manager.service                            loaded active       exited            web: Hello (service manager)

LOAD   = Reflects whether the unit definition was properly loaded.
`))
	// A mark stands before the name of a failed unit.
	same(t, "UNIT      ACTIVE\n● a@3-0c310…  failed\n", "UNIT      ACTIVE\n"+table("UNIT", "ACTIVE")(
		"  UNIT                                 LOAD   ACTIVE\n● a@3-0c3101321f7e5fc6d310e52f3979b84c loaded failed\n")[len("UNIT          ACTIVE\n"):])
}

func TestShortening(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{short("web.3-2ba49c17fcdbea66060380f5e839bcd5: x"), "web.3-2ba49…: x"},
		{short("3-2ba49c17"), "3-2ba49c17"},
		{matching("● x.service - x\n   Loaded: loaded\n   Status: \"bad\"\n", "●", "Status:"), "● x.service - x\n   Status: \"bad\""},
		{ends("a\nb\nc\nd\n", 1, 1), "a\n…\nd"},
		{ends("a\nb\nc\n", 1, 1), "a\nb\nc"},
		{withoutFirst("IP Virtual Server\nProt\n"), "Prot\n"},
		{fmt.Sprintf("%q", wrap("aa bb cccccc d", 5)), `["aa bb" "cccccc" "d"]`},
		{number(0) + " " + number(999) + " " + number(1000) + " " + number(1234567), "0 999 1,000 1,234,567"},
		{counts(traffic.Report{Seconds: 3, Total: traffic.Counts{Sent: 12, Lost: 1}, Revisions: map[string]*traffic.Revision{"one": {Answers: 11}}}.String()), "sent 12  lost 1  answers: one 11"},
		{counts("load: dial"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

const observedText = `stored 1795365692.313973
starting 1795365707.626981000
image 1795365709.100000000
up 1795365722.123456789
healthy 1795365724.452993
accepted 1795365727.871234567
draining 1795365727.924103
drained 1795365733.024103000
gone 1795365734.500000000
`

func TestTimeline(t *testing.T) {
	old, new := "1-b79d81d8cd71137f396ab1e82eefdfcc", "2-0c3101321f7e5fc6d310e52f3979b84c"
	events, err := parseEvents(observedText, old, new)
	if err != nil {
		t.Fatal(err)
	}
	if got := between(events, "draining", "drained"); got != 5100*time.Millisecond {
		t.Errorf("drained for %s, want 5.1s", got)
	}
	at := func(s int64) traffic.Moment { return traffic.Moment{Time: time.Unix(s, 0)} }
	events = append(events, answered(traffic.Report{Revisions: map[string]*traffic.Revision{
		"one": {First: at(1795365600), Last: at(1795365733)}, "two": {First: at(1795365727)},
	}}, "one", "two")...)
	var out bytes.Buffer
	newPage(&out, noEnvironment).rows(timeline(time.Unix(1795365692, 0), events))
	lines := lanes(time.Unix(1795365692, 0), "one", "two", events)
	for i, want := range []string{
		"██████████████████████████████████████████████████▒▒▒▒▒▒▒░░",
		"                      ░░░░░░░░░░░░░░░░░░░░░░░░░░░███████████",
		legend,
	} {
		if lines[i].value != want {
			t.Errorf("lane %d:\n%q, want\n%q", i, lines[i].value, want)
		}
	}
	same(t, `      0.3 s  sm-fetch has validated and stored 2-0c310…; systemd reloads
     15.6 s  systemd starts the runner web@2-0c310…
     17.1 s  its image is there (sm-docker-run pull)
     30.1 s  its container is up (sm-docker-run run)
     32.5 s  it answers its health check, and has to hold for 2 s
             (sm-healthcheck)
     35.0 s  first answer of revision two: it is in the load balancer (sm-ipvs
             add)
     35.9 s  it is good from now on (sm-rollout accept)
     35.9 s  web@1-b79d8… gets no new connections and drains (sm-ipvs drain)
     41.0 s  last answer of revision one
     41.0 s  the drain is over: its container is told to stop
     42.5 s  its container is gone
`, out.String())
}

func TestTimelineIsComplete(t *testing.T) {
	for _, text := range []string{"", "stored", "stored soon", "other 1.5", observedText + "x"} {
		if _, err := parseEvents(text, "1-a", "2-b"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestBuilding(t *testing.T) {
	var out bytes.Buffer
	s := &stage{page: newPage(&out, noEnvironment)}
	for _, line := range []string{
		"vm: building load-0123456789abcdef",
		"vm: building qemu-0123456789abcdef",
		"something of apt",
		"vm: built qemu-0123456789abcdef in 148.5s, 154 MB",
		"vm: waiting for another process that holds /x/.base.lock",
	} {
		s.building(line)
	}
	same(t, `   making the load client

   Making the machine takes some minutes the first time; it is kept in the
   cache of the user's home folder.
   making the emulator: QEMU, unpacked from Debian's package
   made the emulator: QEMU, unpacked from Debian's package (148.5s, 154 MB)
   waiting for another run that makes the same machine
`, out.String())
}
