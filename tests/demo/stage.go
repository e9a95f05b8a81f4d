package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"service-manager/tests/vm"
)

const (
	// address is where the service is reached: docker0's own address.
	address   = "172.17.0.1:7001"
	file      = "/etc/service-manager/services/web.json"
	revisions = "/etc/service-manager/revisions/web"
	// patience is how many seconds of the guest one thing may take.
	patience = 300
)

// A stage is the machine with what is known of it.
type stage struct {
	page      *page
	keep      bool
	guest     *vm.Guest
	doing     atomic.Value // string: what the live line tells
	firstTime bool         // parts of the machine have to be made
	loads     int          // clients started
	loading   bool         // one of them runs, and shows its counts

	names   map[string]string // of the revisions, by what they answer
	outcome outcome
}

// play shows the steps one after the other.
func (s *stage) play(ctx context.Context, steps []step) error {
	for _, step := range steps {
		s.page.heading(step.title)
		if step.intro != "" {
			s.page.say(step.intro)
		}
		if err := step.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(step.title), err)
		}
	}
	return nil
}

// leave ends the machine, or says how to enter and to end it when it is kept.
func (s *stage) leave() error {
	if s.guest == nil {
		return nil
	}
	if !s.keep {
		return s.guest.Close()
	}
	s.page.heading("The machine is still up")
	s.page.say("Enter it with the command below. It ends with 'systemctl poweroff' in there; its disk is removed the next time.")
	s.page.command(s.guest.ShellCommand())
	s.guest.Detach()
	return nil
}

// show runs a command, prints it and what trim leaves of its output, and returns
// the output. Exit codes other than 0 are errors unless allowed.
func (s *stage) show(ctx context.Context, command string, trim func(string) string, allowed ...int) (string, error) {
	s.page.command(short(command))
	var r vm.Result
	err := s.guestWhile(func() (err error) {
		r, err = s.guest.Run(ctx, command)
		return err
	})
	if err != nil {
		return "", err
	}
	if r.ExitCode != 0 && !slices.Contains(allowed, r.ExitCode) {
		return "", fmt.Errorf("%s: exit status %d: %s", command, r.ExitCode, strings.TrimSpace(r.Stdout+r.Stderr))
	}
	text := r.Stdout
	if trim != nil {
		text = trim(text)
	}
	if text = short(text); text != "" {
		s.page.output(text)
	}
	return r.Stdout, nil
}

// guestWhile runs f with a live line, unless a load client shows one.
func (s *stage) guestWhile(f func() error) error {
	if s.loading {
		return f()
	}
	return s.while("running", f)
}

// edit runs and shows a command that changes the definition, and returns when it
// did, by the guest's clock.
func (s *stage) edit(ctx context.Context, command string) (time.Time, error) {
	s.page.command(command)
	stamp, err := s.guest.Output(ctx, command+"\nstat -c %.9Z "+file)
	if err != nil {
		return time.Time{}, err
	}
	return unixTime(stamp)
}

// pause waits, for the load to run on.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until waits for a condition of the guest, a script. What it waits for is told
// in the error when that does not come.
func (s *stage) until(ctx context.Context, what, condition string) error {
	r, err := s.guest.Run(ctx, fmt.Sprintf(
		"end=$(($(date +%%s) + %d)); until ( set -e\n%s\n) >/tmp/until 2>&1; do [ $(date +%%s) -lt $end ] || { tail -n 3 /tmp/until; systemctl --no-pager --failed --no-legend; exit 1; }; sleep 0.5; done",
		patience, condition))
	if err != nil {
		return err
	}
	if r.ExitCode != 0 {
		return fmt.Errorf("not within %ds: %s: %s", patience, what, strings.TrimSpace(r.Stdout+r.Stderr))
	}
	return nil
}

// answers waits until the service answers with that revision.
func (s *stage) answers(ctx context.Context, revision string) error {
	return s.until(ctx, "an answer of revision "+revision,
		"curl -fsS -m 5 -o /dev/null -D - http://"+address+"/ | tr -d '\\r' | grep -ix 'x-revision: "+revision+"'")
}

// settled waits until nothing of a rollout is under way, and remembers the name
// of the revision that answers.
func (s *stage) settled(ctx context.Context, revision string) error {
	err := s.until(ctx, "the end of the rollout of revision "+revision, "cd "+revisions+`
[ current -ef good ] # first what costs nothing: the processor is slow
set -- /run/service-manager/web/*.env
[ $# = 1 ]
rev=$(readlink good); rev=${rev%.json}
[ "$1" = "/run/service-manager/web/$rev.env" ]
grep -q '^Restart=always' "/run/systemd/generator/web@$rev.service"
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = 1
systemctl is-active web@manager.service "web@$rev.service"
test -z "$(systemctl list-jobs --no-legend)"`)
	if err != nil {
		return err
	}
	name, err := s.linked(ctx, "good")
	s.names[revision] = name
	return err
}

// linked returns the name of the revision that a link names.
func (s *stage) linked(ctx context.Context, link string) (string, error) {
	target, err := s.guest.Output(ctx, "readlink "+revisions+"/"+link)
	return strings.TrimSuffix(target, ".json"), err
}
