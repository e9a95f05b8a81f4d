//go:build machine

package tests

import (
	"fmt"
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
test -z "$(find /etc/service-manager /run/service-manager -name '.tmp-*' -mmin +2)"
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

// setTraps replaces every helper in the chain by testdata/trap.sh.
func setTraps(t testing.TB, g *vm.Guest) traps {
	t.Helper()
	put(t, g, "trap.sh", "/usr/local/lib/trap.sh")
	output(t, g, `set -e
mkdir -p /usr/local/lib/trapped /run/traps
for helper in sm-docker-run sm-healthcheck sm-ipvs sm-rollout; do
	mv /usr/local/bin/$helper /usr/local/lib/trapped/
	install -m 755 /usr/local/lib/trap.sh /usr/local/bin/$helper
done`)
	return traps{g}
}

// set makes the next process of that step, such as "sm-ipvs.add", wait in the trap.
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

// A step of a new revision that is killed ends the one attempt that the revision has. The
// old one keeps serving.
func TestKilledInARollout(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	traps := setTraps(t, g)
	good := revisionName(t, g, "good")
	n := 0
	// rejected deploys a revision, kills it, and waits until it has failed and nothing is
	// left of it.
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
	// Before the new revision gets traffic, clients notice nothing.
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
		// It is good by now, so it has to serve.
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
