//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
)

// A step of a new revision that is killed ends the one attempt that the revision
// has. The old one keeps serving.
func TestKilledInARollout(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		good := m.revision(t, "web", "good")
		last, n := good, 0
		// rejected deploys a revision, kills it, and waits until it has failed and
		// nothing is left of it.
		rejected := func(t *testing.T, d definition, kill func(revision string)) {
			t.Helper()
			m.edit(t, "web", d)
			last = m.next(t, "web", last)
			kill(last)
			m.waitFor(t, patience, "test -s /run/service-manager/web/"+last+".failed; systemctl is-failed web@"+last)
			m.serves(t, "web", "r0")
			if now := m.revision(t, "web", "good"); now != good {
				t.Fatalf("good is %s, want %s", now, good)
			}
			t.Logf("rejected: %s", m.output(t, "cat /run/service-manager/web/"+last+".failed"))
		}
		for _, f := range []fault{
			{Helper: "sm-docker-run", Verb: "pull", What: hang},
			{Helper: "sm-docker-run", Verb: "run", What: hang},
			{Helper: "sm-docker-run", Verb: "run", What: mute},
			{Helper: "sm-healthcheck", What: hang},
			{Helper: "sm-healthcheck", What: hang, After: true},
			{Helper: "sm-ipvs", Verb: "add", What: hang},
			{Helper: "sm-ipvs", Verb: "add", What: hang, After: true},
			{Helper: "sm-rollout", Verb: "accept", What: hang},
		} {
			n++
			f.Unit = "web@*"
			t.Run(f.name(), func(t *testing.T) {
				i := m.inject(t, f)
				rejected(t, app(fmt.Sprintf("r%d", n)), func(revision string) {
					if f.What == mute {
						m.waitFor(t, patience, "docker ps --format '{{.Names}}' | grep "+revision)
					}
					i.kill(t)
				})
			})
		}
		t.Run("sm-docker-run run while its health is checked", func(t *testing.T) {
			rejected(t, app("never", "APP_HEALTH=never"), func(revision string) {
				m.waitFor(t, patience, "systemctl show -P StatusText web@"+revision+" | grep 503")
				m.output(t, "systemctl kill --kill-whom=main -s KILL web@"+revision)
			})
		})
		t.Run("sm-rollout accept after its work", func(t *testing.T) {
			// It is good by now, so it has to serve.
			i := m.inject(t, fault{Helper: "sm-rollout", Verb: "accept", What: hang, After: true})
			m.edit(t, "web", app("accepted"))
			i.kill(t)
			m.settled(t, "web", "accepted")
		})
		t.Run("the next edit", func(t *testing.T) {
			m.edit(t, "web", app("next"))
			m.settled(t, "web", "next")
		})
	})
}

func (f fault) name() string {
	when := "before its work"
	if f.After {
		when = "after its work"
	}
	return fmt.Sprintf("%s %s, %s %s", f.Helper, f.Verb, f.What, when)
}

// A step that is killed while a revision stops, because another has replaced it,
// leaves nothing of it behind.
func TestKilledWhileRetiring(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		n := 0
		for _, f := range []fault{
			{Helper: "sm-ipvs", Verb: "drain"},
			{Helper: "sm-ipvs", Verb: "drain", After: true},
			{Helper: "sm-ipvs", Verb: "remove"},
			{Helper: "sm-ipvs", Verb: "remove", After: true},
			{Helper: "sm-docker-run", Verb: "remove"},
			{Helper: "sm-docker-run", Verb: "remove", After: true},
			{Helper: "sm-rollout", Verb: "reject"},
		} {
			f.What, f.Unit = hang, "web@*"
			t.Run(f.name(), func(t *testing.T) {
				n++
				i := m.inject(t, f)
				m.edit(t, "web", app(fmt.Sprintf("r%d", n)))
				i.kill(t)
				m.settled(t, "web", fmt.Sprintf("r%d", n))
				if failed := m.output(t, "find /run/service-manager -name '*.failed'"); failed != "" {
					t.Errorf("a revision that has served is recorded as failed: %s", failed)
				}
			})
		}
		t.Run("sm-docker-run run", func(t *testing.T) {
			// It waits for a container that does not want to end.
			m.edit(t, "web", app("deaf", "APP_SHUTDOWN=ignore").With("stop_timeout", "60s"))
			m.settled(t, "web", "deaf")
			deaf := "web@" + m.revision(t, "web", "good")
			m.edit(t, "web", app("next"))
			m.waitFor(t, patience, "journalctl --no-pager -u "+deaf+" | grep 'terminated, ignored'")
			m.output(t, "systemctl kill --kill-whom=main -s KILL "+deaf)
			m.settled(t, "web", "next")
		})
	})
}

// The good revision is started again, whatever of it is killed, until it serves.
func TestKilledWhileServing(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		unit := "web@" + m.revision(t, "web", "good")
		const container = "docker ps -q --no-trunc --filter label=service-manager.unit"
		// The pauses between failures have their own tests.
		const hasten = "rm -f /run/service-manager/web/*.pace\n"
		// again waits until another container than before serves.
		again := func(t *testing.T, before string) {
			t.Helper()
			took := m.waitFor(t, patience, hasten+"test \"$("+container+")\" != "+before+"\n"+serving("web", "r0"))
			t.Logf("tidy again after %.1fs", took.Seconds())
		}
		for _, victim := range []struct{ name, kill string }{
			{"the container", "docker kill -s KILL %s"},
			{"its first process", "kill -9 $(docker inspect -f '{{.State.Pid}}' %s)"},
			{"sm-docker-run run", "systemctl kill --kill-whom=main -s KILL " + unit},
		} {
			t.Run(victim.name, func(t *testing.T) {
				before := m.output(t, container)
				m.output(t, strings.ReplaceAll(victim.kill, "%s", before))
				again(t, before)
			})
		}
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("each step in turn, after its work: %t", after), func(t *testing.T) {
				var injections []injection
				for _, f := range []fault{
					{Helper: "sm-ipvs", Verb: "remove"}, {Helper: "sm-docker-run", Verb: "remove"}, {Helper: "sm-rollout", Verb: "reject"},
					{Helper: "sm-docker-run", Verb: "pull"}, {Helper: "sm-docker-run", Verb: "run"}, {Helper: "sm-healthcheck"},
					{Helper: "sm-ipvs", Verb: "add"}, {Helper: "sm-rollout", Verb: "accept"},
				} {
					if after && f.Verb == "run" {
						continue // it never ends its work
					}
					f.What, f.After, f.Unit = hang, after, "web@*"
					injections = append(injections, m.inject(t, f))
				}
				before := m.output(t, container)
				m.output(t, "docker kill -s KILL "+before)
				for _, i := range injections {
					m.waitFor(t, patience, hasten+"test -s "+i.file+".pid")
					i.kill(t)
				}
				again(t, before)
			})
		}
		t.Run("a step that fails until it is repaired", func(t *testing.T) {
			broken := m.inject(t, fault{Helper: "sm-ipvs", Verb: "add", Unit: "web@*", What: fail, Always: true})
			before := m.output(t, container)
			m.output(t, "docker kill -s KILL "+before)
			m.waitFor(t, patience, hasten+"test $(systemctl show -P NRestarts "+unit+") -ge 2")
			broken.remove(t)
			again(t, before)
		})
		t.Run("the next edit", func(t *testing.T) {
			m.edit(t, "web", app("next"))
			m.settled(t, "web", "next")
		})
	})
}

// Whatever is not in the chain of a runner: the manager's helpers, the sweep, sm-fetch.
func TestKilledBesideTheChain(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		t.Run("the manager's stop", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-rollout", Unit: "web@manager.service", What: hang})
			m.output(t, "systemctl stop --no-block web@manager")
			i.kill(t)
			m.waitFor(t, patience, "test $(systemctl list-jobs --no-legend | wc -l) = 0")
			m.output(t, "systemctl stop web@manager 'web@[0-9]*'")
			m.nothingLeft(t)
			m.output(t, "systemctl reset-failed; systemctl start web@manager")
			m.settled(t, "web", "r0")
		})
		t.Run("sm-docker-run sweep", func(t *testing.T) {
			m.output(t, "docker create --label service-manager.unit=web@gone.service app:1")
			i := m.inject(t, fault{Helper: "sm-docker-run", Verb: "sweep", What: hang})
			m.output(t, "systemctl start --no-block sm-sweep")
			i.kill(t)
			m.settled(t, "web", "r0")
			m.waitFor(t, patience, "test $(docker ps -aq | wc -l) = 1")
		})
		t.Run("sm-fetch", func(t *testing.T) {
			// From the edit to the reload pass some tens of milliseconds here.
			for i, moment := range []string{"0", "0.02", "0.05", "0.1", "0.3"} {
				revision := fmt.Sprintf("r%d", i+1)
				m.edit(t, "web", app(revision))
				m.output(t, "sleep "+moment+"; systemctl kill -s KILL sm-fetch")
				m.settled(t, "web", revision)
				m.waitFor(t, patience, fmt.Sprintf("test $(systemctl show -P NRestarts sm-fetch) = %d; systemctl is-active sm-fetch", i+1))
			}
		})
	})
}

// nothingLeft checks that no trace of a running service is left.
func (m *machine) nothingLeft(t testing.TB) {
	t.Helper()
	if out := m.output(t, `docker ps -a --format '{{.Names}} {{.Status}}'; sm-ipvs list; find /run/service-manager -name '*.env' -o -path '*/ipvs/*'
systemctl list-units --no-legend --state=active,activating,deactivating 'web@*'`); out != "" {
		t.Errorf("left over: %s", out)
	}
}

// A helper that is killed while it holds the lock of a service keeps no one out.
func TestKilledWithTheLock(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		// This one gets the lock, and then no answer: its systemd is a socket that
		// nothing reads.
		m.output(t, `socat UNIX-LISTEN:/run/silent,fork EXEC:'sleep infinity' >/dev/null 2>&1 </dev/null &
until test -S /run/silent; do sleep 0.05; done
unshare -m sh -c 'mount --bind /run/silent /run/systemd/private && echo $$ > /run/locker &&
exec sm-rollout accept web `+m.revision(t, "web", "good")+`' >/dev/null 2>&1 </dev/null &`)
		m.waitFor(t, patience, "test -s /run/locker && ! flock -n /etc/service-manager/revisions/.lock-web true")
		m.edit(t, "web", app("r1"))
		locker := m.output(t, "cat /run/locker")
		m.waitFor(t, patience, "journalctl -u sm-fetch --no-pager -o cat | grep 'web: waits for the lock on its revisions, which process "+locker+" (sm-rollout) holds'")
		if now := m.output(t, "ls /etc/service-manager/revisions/web/*.json | wc -l"); now != "1" {
			t.Fatalf("the lock keeps nothing out, there are %s revisions: there is nothing to see here", now)
		}
		m.output(t, "kill -9 "+locker)
		m.settled(t, "web", "r1")

		m.output(t, "flock -o /run/service-manager/ipvs.lock sleep infinity >/dev/null 2>&1 </dev/null & echo $! > /run/locker")
		m.waitFor(t, patience, "! flock -n /run/service-manager/ipvs.lock true")
		m.edit(t, "web", app("r2"))
		locker = m.output(t, "cat /run/locker")
		m.waitFor(t, patience, "journalctl -u 'web@3-*' --no-pager -o cat | grep 'waiting for process "+locker+" (flock), which is changing virtual services'")
		m.output(t, "pkill -9 -P "+locker) // flock ends with its command
		m.settled(t, "web", "r2")
	})
}
