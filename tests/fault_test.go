//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// tidy is a script that succeeds when the good revision serves and nothing else
// is there: one container, one run record and one destination, which belong
// together; no file that is half written, no lock that is held, no job.
const tidy = `set -e
cd /etc/service-manager/revisions/web
good=$(readlink good); good=${good%.json}
test "$(ls /run/service-manager/web/*.env)" = "/run/service-manager/web/$good.env"
. "/run/service-manager/web/$good.env"
test -n "$SM_CONTAINER_ID"
test "$(head -qn 1 /run/service-manager/ipvs/*)" = "$SM_CONTAINER_ID"
test "$(ipvsadm -Sn)" = "-A -t ` + address + ` -s rr
-a -t ` + address + ` -r $SM_CONTAINER_IP:80 -m -w 1"
test -z "$(find /etc/service-manager /run/service-manager -name '.tmp-*')"
test "$(pgrep -fc '^/usr/local/[a-z/]*/sm-docker-run run ')" = 1
flock -n ../.lock-web true
systemctl is-active web@manager.service "web@$good.service"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
jq -e . *.json
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}')" = "web.$good running"
test "$(docker inspect -f '{{.Id}} {{.NetworkSettings.IPAddress}}' "web.$good")" = "$SM_CONTAINER_ID $SM_CONTAINER_IP"
`

// servesAlone waits until the revision that answers so serves, is good, and is
// all there is.
func servesAlone(t testing.TB, g *vm.Guest, revision string) time.Duration {
	t.Helper()
	return waitFor(t, g, 3*time.Minute, tidy+answering(revision))
}

// traps stands for a guest whose helpers can be caught at any step.
type traps struct{ guest *vm.Guest }

// setTraps puts testdata/trap.sh in the place of every helper in the chain.
func setTraps(t testing.TB, g *vm.Guest) traps {
	t.Helper()
	put(t, g, "trap.sh", "/usr/local/lib/trap.sh")
	output(t, g, `set -e
mkdir -p /usr/local/lib/trapped /run/traps
for helper in sm-docker-run sm-healthcheck sm-ipvs sm-rollout; do
	mv /usr/local/bin/$helper /usr/local/lib/trapped/
	install -m 755 /usr/local/lib/trap.sh /usr/local/bin/$helper
done
mkdir -p /etc/systemd/system/sm-sweep.service.d
printf '[Service]\nReadWritePaths=/run/traps\n' > /etc/systemd/system/sm-sweep.service.d/traps.conf
systemctl daemon-reload`)
	return traps{g}
}

// set has the next process of that step, such as "sm-ipvs.add", wait in the trap.
func (s traps) set(t testing.TB, step, when string) {
	t.Helper()
	output(t, s.guest, fmt.Sprintf("rm -f /run/traps/%s.pid; echo %s > /run/traps/%[1]s", step, when))
}

// sprung waits until the step is in its trap.
func (s traps) sprung(t testing.TB, step string) {
	t.Helper()
	waitFor(t, s.guest, 3*time.Minute, "test -s /run/traps/"+step+".pid")
}

// kill kills the step that is in its trap.
func (s traps) kill(t testing.TB, step string) {
	t.Helper()
	s.sprung(t, step)
	output(t, s.guest, "kill -9 $(cat /run/traps/"+step+".pid)")
}

// A step of a new revision that is killed ends the one attempt that the revision
// has. The old one serves on.
func TestKilledInARollout(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	traps := setTraps(t, g)
	good := revisionName(t, g, "good")
	n := 0
	// rejected deploys a revision, has it killed, and waits until it has failed
	// and nothing is left of it.
	rejected := func(t *testing.T, d definition, kill func(unit string)) {
		t.Helper()
		edit(t, g, "web", d)
		waitFor(t, g, 3*time.Minute, fmt.Sprintf("readlink /etc/service-manager/revisions/web/current | grep '^%d-'", n+1))
		revision := revisionName(t, g, "current")
		unit := "web@" + revision + ".service"
		kill(unit)
		waitFor(t, g, 3*time.Minute, "test -s /run/service-manager/web/"+revision+".failed && systemctl is-failed "+unit)
		servesAlone(t, g, "r0")
		if now := revisionName(t, g, "good"); now != good {
			t.Fatalf("good is %s, want %s", now, good)
		}
		t.Logf("rejected: %s", output(t, g, "cat /run/service-manager/web/"+revision+".failed"))
	}
	// Before the new revision gets traffic nobody notices.
	l := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "2", "http://"+address+"/")
	for _, at := range []struct{ step, when string }{
		{"sm-docker-run.pull", "before"},
		{"sm-docker-run.run", "before"},
		{"sm-docker-run.run", "unready"},
		{"sm-healthcheck", "before"},
		{"sm-healthcheck", "after"},
		{"sm-ipvs.add", "before"},
	} {
		n++
		t.Run(at.step+" "+at.when, func(t *testing.T) {
			traps.set(t, at.step, at.when)
			rejected(t, app(fmt.Sprintf("r%d", n)), func(string) {
				traps.sprung(t, at.step)
				if at.when == "unready" {
					waitFor(t, g, 3*time.Minute, "docker ps --format '{{.Names}}' | grep "+revisionName(t, g, "current"))
				}
				traps.kill(t, at.step)
			})
		})
	}
	n++
	t.Run("sm-docker-run.run while its health is checked", func(t *testing.T) {
		rejected(t, app("never", "APP_HEALTH=never"), func(unit string) {
			waitFor(t, g, 3*time.Minute, "systemctl show -P StatusText "+unit+" | grep 503")
			output(t, g, "systemctl kill --kill-whom=main -s KILL "+unit)
		})
	})
	noneLost(t, "while new revisions were killed before they got traffic", l.stop(t))

	// Later the new revision has traffic, which a killed step may cost.
	for _, at := range []struct{ step, when string }{
		{"sm-ipvs.add", "after"},
		{"sm-rollout.accept", "before"},
	} {
		n++
		t.Run(at.step+" "+at.when, func(t *testing.T) {
			traps.set(t, at.step, at.when)
			rejected(t, app(fmt.Sprintf("r%d", n)), func(string) { traps.kill(t, at.step) })
		})
	}
	t.Run("sm-rollout.accept after", func(t *testing.T) {
		// It is good by now, and so has to serve.
		traps.set(t, "sm-rollout.accept", "after")
		edit(t, g, "web", app("accepted"))
		traps.kill(t, "sm-rollout.accept")
		servesAlone(t, g, "accepted")
	})
	t.Run("the next edit", func(t *testing.T) {
		first(t, g, app("next"), "next")
		servesAlone(t, g, "next")
	})
}

// A step that is killed while a revision stops, because another has replaced it,
// leaves nothing of it behind.
func TestKilledWhileRetiring(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	traps := setTraps(t, g)
	n := 0
	for _, at := range []struct{ step, when string }{
		{"sm-ipvs.drain", "before"},
		{"sm-ipvs.drain", "after"},
		{"sm-ipvs.remove", "before"},
		{"sm-ipvs.remove", "after"},
		{"sm-docker-run.remove", "before"},
		{"sm-docker-run.remove", "after"},
		{"sm-rollout.reject", "before"},
	} {
		t.Run(at.step+" "+at.when, func(t *testing.T) {
			n++
			revision := fmt.Sprintf("r%d", n)
			traps.set(t, at.step, at.when)
			edit(t, g, "web", app(revision))
			traps.kill(t, at.step)
			servesAlone(t, g, revision)
			if failed := output(t, g, "find /run/service-manager -name '*.failed'"); failed != "" {
				t.Errorf("a revision that has served is recorded as failed: %s", failed)
			}
		})
	}
	t.Run("sm-docker-run.run", func(t *testing.T) {
		// It waits for a container that does not want to end.
		edit(t, g, "web", app("deaf", "APP_SHUTDOWN=ignore").With("stop_timeout", "60s"))
		servesAlone(t, g, "deaf")
		deaf := "web@" + revisionName(t, g, "good")
		edit(t, g, "web", app("next"))
		waitFor(t, g, 3*time.Minute, "journalctl --no-pager -u "+deaf+" | grep 'terminated, ignored'")
		output(t, g, "systemctl kill --kill-whom=main -s KILL "+deaf)
		servesAlone(t, g, "next")
	})
}

// The good revision is started again, whatever of it is killed, until it serves.
func TestKilledWhileServing(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	traps := setTraps(t, g)
	unit := "web@" + revisionName(t, g, "good")
	container := func() string { return output(t, g, "docker ps -q --filter label=service-manager.unit") }
	// again waits until another container than before serves.
	again := func(t *testing.T, before string) {
		t.Helper()
		took := waitFor(t, g, 3*time.Minute, "test \"$(docker ps -q --filter label=service-manager.unit)\" != "+before+"\n"+tidy+answering("r0"))
		t.Logf("tidy again after %.1fs", took.Seconds())
	}
	for _, victim := range []struct{ name, kill string }{
		{"the container", "docker kill -s KILL %s"},
		{"its first process", "kill -9 $(docker inspect -f '{{.State.Pid}}' %s)"},
		{"sm-docker-run.run", "systemctl kill --kill-whom=main -s KILL " + unit},
	} {
		t.Run(victim.name, func(t *testing.T) {
			before := container()
			output(t, g, strings.ReplaceAll(victim.kill, "%s", before))
			again(t, before)
		})
	}
	for _, when := range []string{"before", "after"} {
		t.Run("each step in turn, "+when+" its work", func(t *testing.T) {
			steps := []string{"sm-ipvs.remove", "sm-docker-run.remove", "sm-rollout.reject",
				"sm-docker-run.pull", "sm-docker-run.run", "sm-healthcheck", "sm-ipvs.add", "sm-rollout.accept"}
			if when == "after" {
				// It never ends its work.
				steps = append(steps[:4], steps[5:]...)
			}
			for _, step := range steps {
				traps.set(t, step, when)
			}
			before := container()
			output(t, g, "docker kill -s KILL "+before)
			for _, step := range steps {
				traps.kill(t, step)
			}
			again(t, before)
		})
	}
	t.Run("the next edit", func(t *testing.T) {
		first(t, g, app("next"), "next")
		servesAlone(t, g, "next")
	})
}

// What is not in the chain of a runner: the manager's helpers, the sweep, sm-fetch.
func TestKilledBesideTheChain(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	traps := setTraps(t, g)
	t.Run("sm-rollout.stop", func(t *testing.T) {
		traps.set(t, "sm-rollout.stop", "before")
		output(t, g, "systemctl stop --no-block web@manager")
		traps.kill(t, "sm-rollout.stop")
		waitFor(t, g, 3*time.Minute, "test $(systemctl list-jobs --no-legend | wc -l) = 0")
		nothingLeft(t, g)
	})
	t.Run("sm-rollout.start", func(t *testing.T) {
		traps.set(t, "sm-rollout.start", "before")
		output(t, g, "systemctl start --no-block web@manager")
		traps.kill(t, "sm-rollout.start")
		servesAlone(t, g, "r0")
	})
	t.Run("sm-docker-run.sweep", func(t *testing.T) {
		output(t, g, "docker create --label service-manager.unit=web@gone.service app:1")
		traps.set(t, "sm-docker-run.sweep", "before")
		output(t, g, "systemctl start --no-block sm-sweep")
		traps.kill(t, "sm-docker-run.sweep")
		servesAlone(t, g, "r0")
	})
	t.Run("sm-fetch", func(t *testing.T) {
		l := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "2", "http://"+address+"/")
		// From the edit to the reload pass some hundred milliseconds here.
		for i, moment := range []string{"0", "0.2", "0.6"} {
			revision := fmt.Sprintf("r%d", i+1)
			edit(t, g, "web", app(revision))
			output(t, g, "sleep "+moment+"; systemctl kill -s KILL sm-fetch")
			answers(t, g, revision)
		}
		servesAlone(t, g, "r3")
		noneLost(t, "while sm-fetch was killed", l.stop(t))
		if restarts := output(t, g, "systemctl show -P NRestarts sm-fetch"); restarts != "3" {
			t.Errorf("sm-fetch was started again %s times, want 3", restarts)
		}
	})
}

// A helper that is killed while it holds the lock of a service keeps nobody out.
func TestKilledWithTheLock(t *testing.T) {
	long(t) // tests/native has it for each run
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	// This one gets the lock, and then no answer: its systemd is a socket that
	// nobody reads.
	output(t, g, `socat UNIX-LISTEN:/run/silent,fork EXEC:'sleep infinity' >/dev/null 2>&1 </dev/null &
until test -S /run/silent; do sleep 0.05; done
unshare -m sh -c 'mount --bind /run/silent /run/systemd/private && echo $$ > /run/locker &&
exec sm-rollout accept web `+revisionName(t, g, "good")+`' >/dev/null 2>&1 </dev/null &`)
	waitFor(t, g, 3*time.Minute, "test -s /run/locker && ! flock -n /etc/service-manager/revisions/.lock-web true")
	edit(t, g, "web", app("r1"))
	locker := output(t, g, "cat /run/locker")
	waitFor(t, g, 3*time.Minute, "journalctl -u sm-fetch --no-pager -o cat | grep 'web: waits for the lock on its revisions, which process "+locker+" (sm-rollout) holds'")
	if r, err := g.Run(ctx(t, time.Minute), answering("r1")); err != nil || r.ExitCode == 0 {
		t.Fatalf("the lock keeps nobody out (%v): there is nothing to see here", err)
	}
	output(t, g, "kill -9 "+locker)
	servesAlone(t, g, "r1")
}
