package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"service-manager/tests/vm"
)

// A step is one part of the demo, under a heading of its own.
type step struct {
	title, intro string
	do           func(context.Context, *stage) error
}

var steps = []step{
	{"A machine to play with",
		"A disposable virtual machine with Debian 12 and Docker. Nothing is installed on this one. " +
			"Its processor is emulated in software, so that everything takes 10 to 20 times longer than on a real one.",
		startMachine},
	{"Install service-manager in it", "As on any host: one command, no server, no agent. What it adds is systemd units and small helpers.", install},
	{"A service is one file", "Debian's nginx, behind an address of its own in the kernel's load balancer. REVISION is nginx's, to tell who answers.", firstRevision},
	{"A new revision, under load",
		fmt.Sprintf("A client opens %d connections a second for a request each, and sends two a second on each of %d kept-alive ones. Then the file is edited.", newPerSecond, keptAlive),
		secondRevision},
	{"A broken revision, under load", "The next edit has a slip in it: there is no port 80800.", brokenRevision},
	{"Summary", "", summary},
}

func startMachine(ctx context.Context, s *stage) error {
	s.names = map[string]string{}
	if average := loadAverage(); average > float64(runtime.NumCPU()) {
		s.page.say(fmt.Sprintf("This host is busy (load average %.1f, %d processors), so it takes longer still.", average, runtime.NumCPU()))
	}
	err := s.while("building service-manager", func() error {
		image, err := s.image(ctx)
		if err != nil {
			return err
		}
		s.doing.Store("starting the machine")
		s.guest, err = image.Start(ctx, vm.Options{Keep: s.keep})
		return err
	})
	if err != nil {
		return err
	}
	_, err = s.show(ctx, `grep PRETTY /etc/os-release; uname -sr; docker --version; systemctl --version | head -n 1`, nil)
	return err
}

func install(ctx context.Context, s *stage) error {
	if _, err := s.show(ctx, bundlePath+"/install.sh", nil); err != nil {
		return err
	}
	_, err := s.show(ctx, "systemctl list-units 'service-manager*' 'sm-*'", table("UNIT", "ACTIVE", "SUB"))
	return err
}

const definition = `{
  "description": "Hello, world",
  "image": "nginx:1",
  "address": "` + address + `",
  "port": 80,
  "environment": {"REVISION": "one", "PORT": "80"},
  "drain_timeout": "5s"
}`

func firstRevision(ctx context.Context, s *stage) error {
	_, err := s.edit(ctx, "cat > "+file+" <<END\n"+definition+"\nEND")
	if err != nil {
		return err
	}
	err = s.while("waiting for its first answer", func() error {
		if err := s.answers(ctx, "one"); err != nil {
			return err
		}
		s.doing.Store("it answers; waiting until systemd has settled")
		return s.settled(ctx, "one")
	})
	if err != nil {
		return err
	}
	if _, err := s.show(ctx, "systemctl list-units 'web@*'", runners); err != nil {
		return err
	}
	if _, err := s.show(ctx, "ipvsadm -Ln", withoutFirst); err != nil {
		return err
	}
	_, err = s.show(ctx, "curl -s http://"+address+"/", nil)
	return err
}

// runners is the table of a service's units.
var runners = table("UNIT", "LOAD", "ACTIVE", "SUB", "JOB")

// withoutFirst leaves out ipvsadm's version.
func withoutFirst(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

func secondRevision(ctx context.Context, s *stage) error {
	l, err := s.startLoad(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	edited, err := s.edit(ctx, `sed -i 's/"one"/"two"/' `+file)
	if err != nil {
		return err
	}
	if err := l.answered(ctx, "two"); err != nil {
		return err
	}
	if err := s.until(ctx, "the drain of revision one",
		"ipvsadm -Ln | grep -E 'Masq +0 ' || [ ! -e /run/service-manager/web/"+s.names["one"]+".env ]"); err != nil {
		return err
	}
	s.page.say("The new revision answers and is accepted; the old one drains: weight 0, no new connections.")
	if _, err := s.show(ctx, "systemctl list-units 'web@*'", runners); err != nil {
		return err
	}
	if _, err := s.show(ctx, "ipvsadm -Ln", withoutFirst); err != nil {
		return err
	}
	if err := s.settled(ctx, "two"); err != nil {
		return err
	}
	report, err := s.endLoad(ctx, l)
	if err != nil {
		return err
	}
	events, err := observed(ctx, s.guest, s.names["one"], s.names["two"], edited)
	if err != nil {
		return err
	}
	if two := report.Revisions["two"]; two != nil {
		s.outcome.toAnswer = two.First.Time.Sub(edited)
	}
	s.outcome.docker = between(events, "image", "up")
	s.outcome.draining = between(events, "draining", "drained")
	s.page.say("What happened when, from the edit on:")
	s.page.print("")
	events = append(events, answered(report, "one", "two")...)
	s.page.rows(timeline(edited, events))
	s.page.print("")
	s.page.rows(lanes(edited, "one", "two", events))
	_, err = s.show(ctx, "systemctl list-units 'web@*'", runners)
	return err
}

func brokenRevision(ctx context.Context, s *stage) error {
	l, err := s.startLoad(ctx)
	if err != nil {
		return err
	}
	if _, err := s.edit(ctx, `sed -i -e 's/"two"/"three"/' -e 's/"80"/"80800"/' `+file); err != nil {
		return err
	}
	if err := s.until(ctx, "the third revision on disk", "cd "+revisions+"; test $(readlink current) != $(readlink good)"); err != nil {
		return err
	}
	name, err := s.linked(ctx, "current")
	if err != nil {
		return err
	}
	s.names["three"] = name
	unit := "web@" + name
	// The reload that follows takes it off the manager's list.
	if err := s.until(ctx, "the rejection of the third revision", "test -s /run/service-manager/web/"+name+".failed; systemctl is-failed "+unit+
		"; ! grep "+name+" /run/systemd/generator/web@manager.service; test -z \"$(systemctl list-jobs --no-legend)\""); err != nil {
		return err
	}
	if _, err := s.endLoad(ctx, l); err != nil {
		return err
	}
	status := func(text string) string { return matching(text, "×", "Active:", "Status:") }
	if _, err := s.show(ctx, "systemctl status "+unit, status, 3); err != nil {
		return err
	}
	if _, err := s.show(ctx, "journalctl -o cat -u "+unit, func(text string) string { return ends(text, 3, 3) }); err != nil {
		return err
	}
	if _, err := s.show(ctx, "ls -l "+revisions, nil); err != nil {
		return err
	}
	if _, err := s.show(ctx, "curl -s http://"+address+"/", nil); err != nil {
		return err
	}
	good, err := s.linked(ctx, "good")
	if err != nil {
		return err
	}
	for answer, name := range s.names {
		if name == good {
			s.outcome.good = answer
		}
	}
	s.outcome.reason, err = s.guest.Output(ctx, "cat /run/service-manager/web/"+name+".failed")
	return err
}

func summary(_ context.Context, s *stage) error {
	s.page.print("")
	s.page.rows(s.outcome.rows())
	return s.outcome.judge()
}
