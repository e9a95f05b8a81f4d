//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ended is a script that succeeds when nothing of a service is left: no container, record
// or destination, and no unit that runs.
func ended(service string) string {
	return strings.ReplaceAll(`test -z "$(docker ps -a --format '{{.Names}}' | grep '^SERVICE\.')"
test -z "$(find /run/service-manager/SERVICE -name '*.env' 2>/dev/null)"
test -z "$(find /run/service-manager/ipvs -type f 2>/dev/null)"
test -z "$(systemctl list-units --no-legend --state=active,activating,deactivating,reloading 'SERVICE@*')"
`, "SERVICE", service)
}

// gone is ended, and no job is left either, also of the helpers' own units.
func gone(service string) string {
	return ended(service) + "test \"$(systemctl list-jobs --no-legend | wc -l)\" = 0\n"
}

// stop stops a service and checks that nothing of it is left when that returns.
func (m *machine) stop(t testing.TB, service string) {
	t.Helper()
	m.output(t, "systemctl stop "+service+"@manager")
	if out, status := m.try(t, "set -ex\n"+ended(service)); status != 0 {
		t.Errorf("left when the stop had returned:\n%s\n%s", out, m.output(t, "systemctl --no-pager list-units '"+service+"@*'; docker ps -a"))
	}
	m.waitFor(t, patience, gone(service))
}

const neverHealthy = "APP_HEALTH=never"

// impatient is a definition whose health check fails after a second.
func impatient(revision string, settings ...string) definition {
	return app(revision, settings...).With("health_check", map[string]any{"timeout": "1s"})
}

// rejected waits until a revision has failed.
func (m *machine) rejected(t testing.TB, service, revision string) {
	t.Helper()
	m.waitFor(t, patience, fmt.Sprintf("test -s /run/service-manager/%s/%s.failed", service, revision))
}

// The good revision no longer starts, and the one that fixes it needs time.
func TestMendedWhileGoodFails(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		good := m.revision(t, "web", "good")
		m.stop(t, "web")
		m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@" + good + "*", What: fail, Always: true})
		m.edit(t, "web", app("r1", "APP_START_DELAY=10s"))
		m.next(t, "web", good)
		m.waitFor(t, patience, "grep -q '^After=.*@2-' /run/systemd/generator/web@manager.service")
		m.output(t, "systemctl start --no-block web@manager")
		t.Logf("it serves after %.1fs", m.settled(t, "web", "r1").Seconds())
	})
}

// A service with nothing that serves waits for an edit, or for a start by hand.
func TestNothingServes(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		broken := m.inject(t, fault{Helper: "sm-healthcheck", What: fail, Always: true})
		m.edit(t, "web", app("r0", "APP_START_DELAY=8s").With("replicas", 2))
		m.waitFor(t, patience, "test -L /etc/service-manager/revisions/web/current")
		first := m.revision(t, "web", "current")
		m.rejected(t, "web", first)
		m.waitFor(t, patience, "systemctl show -P StatusText web@manager | grep 'nothing serves: "+first+" was rejected'")

		m.stop(t, "web")
		begin := time.Now()
		out, status := m.try(t, "journalctl --rotate --vacuum-time=1s; systemctl start web@manager; status=$?; systemctl --no-pager status web@manager; exit $status")
		t.Logf("the start has failed after %.1fs", time.Since(begin).Seconds())
		if status == 0 || !strings.Contains(out, "nothing will serve: "+first+" was rejected") {
			t.Errorf("status %d: %s", status, out)
		}
		m.waitFor(t, patience, "systemctl show -P StatusText web@manager | grep 'nothing serves: "+first+" was rejected'")

		// It is slow, and nothing disturbs it.
		broken.remove(t)
		m.output(t, "systemctl start --no-block web@"+first)
		m.waitFor(t, patience, "systemctl is-active web@"+first)
		t.Logf("the manager is up %.1fs after the revision", m.waitFor(t, patience, "systemctl is-active web@manager").Seconds())
		if n := m.show(t, "web@"+first, "NRestarts"); n != "0" {
			t.Errorf("the revision was started again %s times", n)
		}
		if lines := m.output(t, "journalctl -u web@manager -o cat --no-pager | grep -c 'nothing serves'"); lines != "1" {
			t.Errorf("%s lines in the journal", lines)
		}
		m.edit(t, "web", app("r1"))
		m.settled(t, "web", "r1")

		// And by an edit.
		m.edit(t, "other", impatient("r0", neverHealthy).With("address", "172.17.0.1:7002"))
		m.waitFor(t, patience, "test -L /etc/service-manager/revisions/other/current")
		m.rejected(t, "other", m.revision(t, "other", "current"))
		m.edit(t, "other", app("r1").With("address", "172.17.0.1:7002"))
		m.settled(t, "other", "r1")
	})
}

// Whatever its state, a stop returns when nothing of the service is left, and
// what depends on it has stopped before.
func TestStopInEachState(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, `cat > /etc/systemd/system/dependent.service <<'END'
[Unit]
Wants=web@manager.service
After=web@manager.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=true
ExecStop=sh -c 'docker ps --format {{.Names}} > /run/dependent-saw'
END
systemctl daemon-reload`)
		m.edit(t, "web", app("r0"))
		m.waitFor(t, patience, "test -L /etc/service-manager/revisions/web/good")
		n := 0
		for _, state := range []struct {
			name    string
			fault   fault
			pending definition // deployed before the stop, nil for none
			until   string
		}{
			{name: "serving"},
			{name: "an image is pulled", fault: fault{Helper: "sm-docker-run", Verb: "pull", What: hang}, pending: app("x")},
			{name: "a health check waits", pending: app("x", neverHealthy), until: "systemctl show -P StatusText web@REVISION | grep 503"},
			{name: "traffic is about to come", fault: fault{Helper: "sm-ipvs", Verb: "add", What: hang}, pending: app("x")},
			{name: "it is about to be accepted", fault: fault{Helper: "sm-rollout", Verb: "accept", What: hang}, pending: app("x")},
		} {
			m.output(t, "systemctl start dependent web@manager")
			m.waitFor(t, patience, "systemctl is-active web@manager && systemctl is-active web@$(basename $(readlink /etc/service-manager/revisions/web/good) .json)")
			if state.pending != nil {
				n++
				var set *injection
				if state.fault.What != "" {
					i := m.inject(t, state.fault)
					set = &i
				}
				before := m.revision(t, "web", "current")
				m.edit(t, "web", state.pending.With("description", fmt.Sprint(n)))
				revision := m.next(t, "web", before)
				if set != nil {
					set.sprung(t)
				}
				m.waitFor(t, patience, "systemctl show -P ActiveState web@"+revision+" | grep activating\n"+strings.ReplaceAll(state.until, "REVISION", revision))
			}
			t.Log(state.name)
			m.output(t, "rm -f /run/dependent-saw; systemctl stop dependent web@manager")
			if out, status := m.try(t, "set -ex\n"+ended("web")+"grep ^web /run/dependent-saw"); status != 0 {
				t.Errorf("%s: left when the stop had returned, or stopped before its dependent:\n%s", state.name, out)
			}
		}
		t.Run("it drains", func(t *testing.T) {
			m.edit(t, "web", app("y").With("drain_timeout", "20s"))
			m.output(t, "systemctl start web@manager")
			m.settled(t, "web", "y")
			old := m.revision(t, "web", "good")
			m.active(t, m.output(t, ". /run/service-manager/web/"+old+".env; echo $SM_CONTAINER_IP:80"), 1)
			m.edit(t, "web", app("z"))
			m.waitFor(t, patience, "systemctl show -P ActiveState web@"+old+" | grep deactivating && systemctl is-active web@manager")
			m.stop(t, "web")
		})
		t.Run("it crash-loops", func(t *testing.T) {
			m.output(t, "systemctl start web@manager")
			m.settled(t, "web", "z")
			broken := m.inject(t, fault{Helper: "sm-docker-run", Verb: "run", What: fail, Always: true})
			m.output(t, "docker kill $(docker ps -q)")
			m.waitFor(t, patience, "test $(systemctl show -P NRestarts web@"+m.revision(t, "web", "good")+") -ge 2")
			m.stop(t, "web")
			broken.remove(t)
		})
		t.Run("what the kernel has lost is put back", func(t *testing.T) {
			f := m.inject(t, fault{Helper: "sm-ipvs", Verb: "restore", Unit: "web@*", What: hang})
			m.output(t, "systemctl start --no-block web@manager")
			f.sprung(t)
			m.stop(t, "web")
		})
		t.Run("nothing has started yet", func(t *testing.T) {
			f := m.inject(t, fault{Helper: "sm-rollout", Verb: "wait", Unit: "web@*", What: hang})
			m.output(t, "systemctl start --no-block web@manager")
			f.sprung(t)
			m.stop(t, "web")
		})
		t.Run("all at once and Docker too, as at a shutdown", func(t *testing.T) {
			m.edit(t, "web", app("last").With("drain_timeout", "10m"))
			m.output(t, "systemctl start dependent web@manager")
			m.settled(t, "web", "last")
			good := m.revision(t, "web", "good")
			destination := m.output(t, ". /run/service-manager/web/"+good+".env; echo $SM_CONTAINER_IP:80")
			m.active(t, destination, 1)
			// Jobs in one transaction, unlike those of a systemctl stop of all these.
			m.output(t, `rm -f /run/dependent-saw
printf '[Unit]\nConflicts=docker.socket docker.service containerd.service system-web.slice web@manager.service web@`+good+`.service dependent.service\n' > /etc/systemd/system/down.target
systemctl daemon-reload; systemctl start --no-block down.target`)
			m.waitFor(t, patience, "systemctl show -P StatusText web@"+good+" | grep 'draining.*: 1 active connection'; test -s /run/dependent-saw")
			m.output(t, "docker ps --format '{{.Names}}' | grep -x web."+good)
			m.active(t, destination, 0)
			m.waitFor(t, patience, "test $(systemctl list-jobs --no-legend | wc -l) = 0; ! systemctl is-active docker.service")
			m.output(t, "systemctl start docker.service")
			m.waitFor(t, patience, gone("web"))
		})
		t.Run("it has failed", func(t *testing.T) {
			m.output(t, "rm /etc/service-manager/services/web.json; sm-fetch once")
			m.edit(t, "api", impatient("never", neverHealthy))
			m.waitFor(t, patience, "ls /run/service-manager/api/*.failed; test $(systemctl show -P NRestarts api@manager) -ge 1")
			m.stop(t, "api")
		})
	})
}

// A pending revision that takes long to start delays neither the good one nor the
// manager, as at a boot.
func TestPendingHoldsUpNothing(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		m.stop(t, "web")
		f := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@2-*", What: hang})
		good := m.revision(t, "web", "good")
		m.edit(t, "web", app("r1"))
		m.next(t, "web", good)
		m.waitFor(t, patience, "ls /run/systemd/generator/web@2-*.service")
		m.output(t, "systemctl stop service-manager.target; systemctl start service-manager.target")
		m.waitFor(t, patience, "systemctl is-active web@manager web@"+good+"\n"+`test "$(systemctl is-active 'web@2-*')" = activating`)
		f.kill(t)
		m.serves(t, "web", "r0")
	})
}

// A new revision that is stopped in its start has not failed.
func TestStoppedInItsStart(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		before := m.revision(t, "web", "current")
		i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: late})
		m.edit(t, "web", app("r1"))
		pending := m.next(t, "web", before)
		i.sprung(t)
		m.output(t, "systemctl stop web@"+pending)
		i.release(t)
		m.waitFor(t, patience, serving("web", "r0")+`
test "$(systemctl show -P ActiveState 'web@`+pending+`')" = inactive
test ! -e '/run/service-manager/web/`+pending+`.failed'`)
		m.output(t, "systemctl start web@"+pending)
		m.settled(t, "web", "r1")
	})
}

// A restart of the manager interrupts no start, drain or pause, and gives nothing up that
// waits.
func TestRestartInEachState(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, `printf '[Unit]\nWants=web@manager.service\nAfter=web@manager.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n' > /etc/systemd/system/dependent.service
systemctl daemon-reload`)
		m.first(t, "web", app("r0"))
		m.output(t, "systemctl start dependent")
		restart := func(what string) {
			t.Helper()
			const running = "docker ps -q | sort; systemctl show -P InvocationID -P ActiveState 'web@[0-9]*' dependent"
			before := m.output(t, running)
			was := m.show(t, "web@manager", "InvocationID")
			m.output(t, "systemctl restart --no-block web@manager")
			m.waitFor(t, patience, `test "$(systemctl show -P InvocationID web@manager)" != "`+was+`" || systemctl list-jobs --no-legend | grep 'web@manager.*waiting'`)
			if after := m.output(t, running); after != before {
				t.Errorf("%s:\n%s\nbecame\n%s", what, before, after)
			}
		}
		for n, at := range []fault{
			{Helper: "sm-docker-run", Verb: "pull"}, {Helper: "sm-healthcheck"},
			{Helper: "sm-ipvs", Verb: "add"}, {Helper: "sm-rollout", Verb: "accept"},
		} {
			next := fmt.Sprint("next ", n)
			at.Unit, at.What = fmt.Sprintf("web@%d-*", n+2), late
			f := m.inject(t, at)
			m.edit(t, "web", app(next))
			f.sprung(t)
			restart(at.Helper + " " + at.Verb)
			f.release(t)
			m.settled(t, "web", next)
		}
		t.Run("it drains", func(t *testing.T) {
			m.edit(t, "web", app("drains").With("drain_timeout", "1m"))
			m.settled(t, "web", "drains")
			old := m.revision(t, "web", "good")
			destination := m.output(t, ". /run/service-manager/web/"+old+".env; echo $SM_CONTAINER_IP:80")
			m.active(t, destination, 1)
			m.edit(t, "web", app("after"))
			m.waitFor(t, patience, "systemctl show -P ActiveState web@"+old+" | grep deactivating && systemctl is-active web@manager")
			restart("draining")
			m.active(t, destination, 0)
			m.settled(t, "web", "after")
		})
		t.Run("nothing has started yet", func(t *testing.T) {
			m.stop(t, "web")
			f := m.inject(t, fault{Helper: "sm-rollout", Verb: "wait", Unit: "web@*", What: late})
			m.output(t, "systemctl start --no-block web@manager")
			f.sprung(t)
			restart("waiting for its turn")
			f.release(t)
			m.settled(t, "web", "after")
		})
		t.Run("it crash-loops", func(t *testing.T) {
			broken := m.inject(t, fault{Helper: "sm-docker-run", Verb: "run", What: fail, Always: true})
			m.output(t, "docker kill $(docker ps -q)")
			restarts := "systemctl show -P NRestarts web@" + m.revision(t, "web", "good")
			m.waitFor(t, patience, "test $("+restarts+") -ge 2")
			m.output(t, "systemctl restart --no-block web@manager")
			m.waitFor(t, patience, "test $("+restarts+") -ge 3") // its pauses go on growing
			broken.remove(t)
			m.serves(t, "web", "after")
		})
		t.Run("it has failed", func(t *testing.T) {
			m.edit(t, "api", impatient("never", neverHealthy).With("address", "172.17.0.1:7002"))
			m.waitFor(t, patience, "test -L /etc/service-manager/revisions/api/current")
			m.rejected(t, "api", m.revision(t, "api", "current"))
			waits := "systemctl show -P StatusText api@manager | grep 'nothing serves: '"
			m.waitFor(t, patience, waits)
			m.output(t, "systemctl restart --no-block api@manager")
			m.waitFor(t, patience, waits)
			m.edit(t, "api", app("fixed").With("address", "172.17.0.1:7002"))
			m.settled(t, "api", "fixed")
		})
	})
}

// A restart of the manager interrupts nothing, whatever the state.
func TestRestartInterruptsNothing(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		const running = "docker ps -q | sort; systemctl show -P MainPID 'web@[0-9]*'"
		same := func(what string) {
			t.Helper()
			before := m.output(t, running)
			m.output(t, "systemctl restart web@manager")
			if after := m.output(t, running); after != before {
				t.Errorf("%s: %s became %s", what, before, after)
			}
		}
		same("serving")
		f := m.inject(t, fault{Helper: "sm-rollout", Verb: "accept", Unit: "web@2-*", What: hang})
		m.edit(t, "web", app("r1"))
		f.sprung(t)
		// It returns when that start is over, and stops nothing until then.
		before := m.output(t, running)
		m.output(t, "systemctl restart --no-block web@manager")
		m.waitFor(t, patience, "systemctl list-jobs --no-legend | grep 'web@manager.*waiting'")
		if after := m.output(t, running); after != before {
			t.Errorf("another starts: %s became %s", before, after)
		}
		f.kill(t)
		m.serves(t, "web", "r0")
		same("another was rejected")
		m.edit(t, "web", app("r2"))
		m.settled(t, "web", "r2")
		same("it has become good")
	})
}

// A Docker that was stopped by hand stays stopped, and the service comes back
// with it.
func TestDockerStoppedByHand(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		// Debian's docker.service may start only three times a minute.
		const again = "systemctl reset-failed docker.service docker.socket; systemctl start "
		m.output(t, "systemctl stop docker.socket docker.service")
		runner := "web@" + m.revision(t, "web", "good")
		waits := "systemctl show -P StatusText " + runner + " | grep 'waiting for docker.service, which is inactive'"
		t.Logf("waits for Docker after %.1fs", m.waitFor(t, patience, waits).Seconds())
		m.output(t, "systemctl daemon-reload; systemctl restart --no-block web@manager")
		m.waitFor(t, patience, waits)
		m.output(t, "systemctl start sm-sweep") // as at an update, or by systemd itself
		t.Run("its socket is left", func(t *testing.T) {
			m.output(t, again+"docker.socket docker.service")
			m.serves(t, "web", "r0")
			m.output(t, "systemctl stop docker.service")
			m.waitFor(t, patience, waits+"\nsystemctl is-active docker.socket")
			m.output(t, "systemctl start sm-sweep; systemctl restart --no-block web@manager")
			m.waitFor(t, patience, waits)
			m.output(t, "! systemctl is-active docker.service")
			m.output(t, again+"docker.service")
			m.serves(t, "web", "r0")
			m.output(t, "systemctl stop docker.socket docker.service")
			m.waitFor(t, patience, waits)
		})
		t.Run("stop", func(t *testing.T) {
			m.stopWithoutDocker(t)
			m.output(t, again+"web@manager docker.service")
			m.serves(t, "web", "r0")
		})
		t.Run("stop while the container lives on", func(t *testing.T) {
			m.output(t, `jq '."live-restore" = true' /etc/docker/daemon.json > /etc/docker/daemon.json.new
mv /etc/docker/daemon.json.new /etc/docker/daemon.json; systemctl reload docker.service`)
			m.waitFor(t, patience, "docker info -f '{{.LiveRestoreEnabled}}' | grep true")
			process := m.output(t, "docker inspect -f '{{.State.Pid}}' $(docker ps -q)")
			m.output(t, "systemctl stop docker.socket docker.service; test -d /proc/"+process)
			m.stopWithoutDocker(t)
			m.output(t, "! test -d /proc/"+process)
			m.output(t, again+"docker.service")
			m.waitFor(t, patience, gone("web"))
			m.output(t, "systemctl start web@manager")
			m.serves(t, "web", "r0")
		})
	})
}

// stopWithoutDocker stops a service whose containers Docker cannot be asked about.
func (m *machine) stopWithoutDocker(t testing.TB) {
	t.Helper()
	begin := time.Now()
	m.output(t, `systemctl stop web@manager
test -z "$(systemctl list-units --no-legend --state=active,activating,deactivating 'web@*')"
test -z "$(ls /run/service-manager/web/*.env 2>/dev/null)"
! systemctl is-active docker.service`)
	t.Logf("stopped after %.1fs", time.Since(begin).Seconds())
}

// A service with nothing that serves has a failed unit, which can notify an operator,
// until it serves again.
func TestOutage(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, `mkdir -p /etc/systemd/system/sm-outage@.service.d
printf '[Unit]\nOnFailure=page@%%i.service\n' > /etc/systemd/system/sm-outage@.service.d/page.conf
printf '[Service]\nType=oneshot\nExecStart=touch /run/paged-%%i\n' > /etc/systemd/system/page@.service
systemctl daemon-reload`)
		m.first(t, "web", app("r0"))
		broken := m.inject(t, fault{Helper: "sm-docker-run", Verb: "run", What: fail, Always: true})
		m.output(t, "docker kill $(docker ps -q)")
		took := m.waitFor(t, 2*patience, "systemctl is-failed sm-outage@web.service && test -e /run/paged-web")
		runner := "web@" + m.revision(t, "web", "good")
		t.Logf("the outage is told after %.0fs and %s restarts", took.Seconds(), m.show(t, runner, "NRestarts"))
		if n := m.output(t, "journalctl -o cat --no-pager -u web@manager | wc -l"); len(n) > 2 {
			t.Errorf("the manager wrote %s lines", n)
		}
		broken.remove(t)
		m.waitFor(t, 2*patience, serving("web", "r0")+"test $(systemctl is-failed sm-outage@web.service) = inactive")
	})
}

// A reload that changes the text of a unit while a runner starts makes systemd drop
// the rest of the start. No rollout is left half done.
func TestReloadWhileItStarts(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		for n, at := range []fault{
			{Helper: "sm-docker-run", Verb: "pull"}, {Helper: "sm-healthcheck"}, {Helper: "sm-ipvs", Verb: "add"},
		} {
			revision := fmt.Sprintf("r%d", n+1)
			at.Unit, at.What = fmt.Sprintf("web@%d-*", n+2), hang
			f := m.inject(t, at)
			m.edit(t, "web", app(revision))
			f.sprung(t)
			// A helper that hangs continues after the reload as if it had succeeded.
			m.output(t, fmt.Sprintf(`mkdir -p /etc/systemd/system/web@runner.service.d
printf '[Service]\nEnvironment=N=%d\nExecStartPre=true\nExecStartPost=true\n' > /etc/systemd/system/web@runner.service.d/n.conf
systemctl daemon-reload
kill $(cat %s.pid)`, n, f.file))
			m.waitFor(t, patience, `name=$(basename $(readlink /etc/service-manager/revisions/web/current) .json)
test -e /run/service-manager/web/$name.failed || test "$(readlink /etc/service-manager/revisions/web/good)" = $name.json`)
			t.Logf("%s %s: %s", at.Helper, at.Verb, m.output(t, "cat /run/service-manager/web/*.failed 2>/dev/null; true"))
		}
		m.edit(t, "web", app("last"))
		m.settled(t, "web", "last")
	})
}

// A revision that is replaced so soon that its unit is gone before its container is
// recorded leaves nothing.
func TestReplacedAtOnce(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		for n, step := range []fault{
			{Helper: "sm-rollout", Verb: "wait"}, {Helper: "sm-docker-run", Verb: "pull"}, {Helper: "sm-docker-run", Verb: "pull"},
		} {
			step.Unit, step.What = fmt.Sprintf("web@%d-*", 2*n+2), late
			f := m.inject(t, step)
			before := m.revision(t, "web", "current")
			m.edit(t, "web", app(fmt.Sprint("replaced ", n)))
			f.sprung(t)
			replaced := m.next(t, "web", before)
			m.edit(t, "web", app(fmt.Sprint("next ", n)))
			m.next(t, "web", replaced)
			m.waitFor(t, patience, "! test -e /run/systemd/generator/web@"+replaced+".service")
			f.release(t)
			m.settled(t, "web", fmt.Sprint("next ", n))
		}
	})
}

// A runner whose start ends before its revision was accepted is not left so.
func TestNeverAccepted(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		good := m.revision(t, "web", "good")
		m.output(t, `mkdir -p /etc/systemd/system/web@runner.service.d /etc/systemd/system/web@.service.d
printf '[Service]\nExecStartPost=\n' > /etc/systemd/system/web@runner.service.d/zzz.conf
systemctl daemon-reload`)
		m.edit(t, "web", app("r1"))
		second := m.next(t, "web", good)
		m.rejected(t, "web", second)
		if reason := m.output(t, "cat /run/service-manager/web/"+second+".failed"); !strings.Contains(reason, "its start ended before sm-rollout accept") {
			t.Errorf("the reason is %q", reason)
		}
		m.serves(t, "web", "r0")
	})
}

// An operator's mask holds, and the status says so.
func TestMasked(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		good := m.revision(t, "web", "good")
		m.stop(t, "web")
		m.output(t, "systemctl mask --runtime web@manager.service")
		m.edit(t, "web", app("r1"))
		second := m.next(t, "web", good)
		m.waitFor(t, patience, "test -e /run/systemd/generator/web@"+second+".service && test $(systemctl list-jobs --no-legend | wc -l) = 0")
		if out, status := m.try(t, "set -ex\n"+ended("web")); status != 0 {
			t.Errorf("a masked service runs: %s", out)
		}
		m.output(t, "systemctl --no-pager status web@manager | grep 'Loaded: masked'")
		m.output(t, "systemctl unmask --runtime web@manager.service && systemctl start web@manager")
		m.settled(t, "web", "r1")

		m.stop(t, "web")
		m.output(t, "systemctl mask --runtime web@"+second+".service")
		out, status := m.try(t, "timeout 60 systemctl start web@manager; status=$?; systemctl --no-pager status web@manager; exit $status")
		if status == 0 || !strings.Contains(out, "is masked") {
			t.Errorf("status %d: %s", status, out)
		}
		m.output(t, "systemctl unmask --runtime web@"+second+".service && systemctl start web@"+second)
		m.settled(t, "web", "r1")
	})
}

// Runners that start at once are limited, and wait without failing.
func TestTurns(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		parallel, services := 2, 8
		if *longTests { // the last one waits for longer than the 35s that its start may take
			parallel, services = 1, 16
		}
		m.output(t, fmt.Sprintf("echo PARALLEL_STARTS=%d >> /etc/service-manager/service-manager.conf", parallel))
		begin := time.Now()
		for n := range services {
			m.edit(t, fmt.Sprintf("s%d", n), app("r0").With("address", fmt.Sprintf("172.17.0.1:%d", 7100+n)).
				With("start_timeout", "3s").With("health_check", map[string]string{"timeout": "3s"}))
		}
		m.waitFor(t, patience, fmt.Sprintf("test $(find /run/service-manager/.starts -type f -name 's*' | wc -l) -le %d", parallel)+" && test $(systemctl list-units --no-legend --state=activating 's[0-9]@[0-9]*' | wc -l) -ge 3")
		for n := range services {
			m.waitFor(t, 2*patience, fmt.Sprintf("test -e /etc/service-manager/revisions/s%d/good", n))
		}
		t.Logf("%d services, %d at a time: %.1fs", services, parallel, time.Since(begin).Seconds())
		if failed := m.output(t, "find /run/service-manager -name '*.failed'"); failed != "" {
			t.Errorf("failed: %s", failed)
		}
	})
}

// shopWaitsForItsTurn makes shop wait for its turn, which web has, for longer than a step of
// its start may take.
func (m *machine) shopWaitsForItsTurn(t testing.TB) {
	t.Helper()
	m.output(t, "echo PARALLEL_STARTS=1 >> /etc/service-manager/service-manager.conf")
	m.edit(t, "web", app("r0", neverHealthy).With("health_check", map[string]string{"timeout": "10m"}))
	m.waitFor(t, patience, "systemctl show -P StatusText 'web@1-*' | grep 503")
	m.edit(t, "shop", app("r0").With("address", "172.17.0.1:7002").With("start_timeout", "3s").With("health_check", map[string]string{"timeout": "3s"}))
	// One may take 35s.
	m.waitFor(t, patience, `systemctl show -P StatusText 'shop@1-*' | grep 'waiting for its turn'
began=$(systemctl show -P InactiveExitTimestampMonotonic 'shop@1-*')
test $(awk '{print int($1 * 1000)}' /proc/uptime) -gt $((began / 1000 + 36000))`)
}

// The time that a step has asked systemd for, to wait for its turn, outlasts reloads, each
// of which makes systemd forget it.
func TestReloadWhileItWaits(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.shopWaitsForItsTurn(t)
		const begun = "systemctl show -P InvocationID -P SubState 'web@1-*' 'shop@1-*'"
		before := m.output(t, begun)
		for range 5 {
			m.output(t, "systemctl daemon-reload")
		}
		if after := m.output(t, begun); after != before {
			t.Errorf("after five reloads, the starts are\n%s\nwere\n%s", after, before)
		}
		m.edit(t, "web", app("r1"))
		m.settled(t, "web", "r1")
		m.settled(t, "shop", "r0")
	})
}

// A reload makes systemd count the time-out of a start from the beginning of its first step.
// It does not end a step that comes after a long one.
func TestReloadInALateStep(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, `systemd-run --quiet --unit silent --socket-property ListenStream=/run/silent.sock sleep infinity
mkdir -p /etc/systemd/system/shop@runner.service.d
printf '[Service]\nEnvironment=DOCKER_HOST=unix:///run/silent.sock\n' > /etc/systemd/system/shop@runner.service.d/docker.conf`)
		m.shopWaitsForItsTurn(t)
		m.edit(t, "web", app("r1"))
		const step = "pid=$(systemctl show -P ControlPID 'shop@1-*'); echo $pid $(tr '\\0' ' ' < /proc/$pid/cmdline)"
		m.waitFor(t, patience, step+" | grep 'sm-docker-run pull'")
		before := m.output(t, step)
		for range 5 {
			m.output(t, "systemctl daemon-reload")
		}
		if after := m.output(t, step); after != before {
			t.Errorf("after five reloads, it runs %q, before %q", after, before)
		}
		m.output(t, "rm -r /etc/systemd/system/shop@runner.service.d; systemctl daemon-reload")
		m.settled(t, "shop", "r0")
		if failed := m.output(t, "find /run/service-manager -name '*.failed'"); failed != "" {
			t.Errorf("failed: %s", failed)
		}
	})
}
