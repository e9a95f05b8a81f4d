//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
)

// single is a revision that must not run beside another.
func single(revision string, settings ...string) definition {
	return app(revision, settings...).With("drain_timeout", "2s").With("rollout", map[string]string{"order": "stop-first"})
}

// The old container has ended before the new one starts, whatever fails, and serves again
// if the new one never does.
func TestStopFirst(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, `systemd-run --quiet --unit events --property StandardOutput=file:/root/events \
	docker events --filter type=container --filter event=start --filter event=die --filter label=service_name=web --format '{{.Action}} {{index .Actor.Attributes "name"}}'`)
		m.first(t, "web", single("r0"))
		const holding = "systemctl show -P ActiveState sm-hold@web | grep ^activ"

		serves, n := "r0", 0
		// run runs a part, unless an earlier one has failed.
		run := func(name string, part func(t *testing.T)) {
			if !t.Failed() {
				t.Run(name, part)
			}
		}
		// next returns the settings of the next revision.
		next := func() string { n++; return fmt.Sprintf("r%d", n) }
		// swaps deploys a revision that becomes good.
		swaps := func(t *testing.T) {
			t.Helper()
			serves = next()
			m.edit(t, "web", single(serves))
			m.settled(t, "web", serves)
		}
		// pending deploys one that never will, and waits until its container runs, and
		// clients wait.
		pending := func(t *testing.T) (revision string) {
			t.Helper()
			before := m.revision(t, "web", "current")
			m.edit(t, "web", single(next(), "APP_HEALTH=never"))
			revision = m.next(t, "web", before)
			m.waitFor(t, patience, "systemctl show -P StatusText web@"+revision+" | grep 503\n"+holding)
			return revision
		}
		// stuck deploys a revision, and keeps the one that it replaces from ending before
		// release.
		stuck := func(t *testing.T) (revision string, i injection) {
			t.Helper()
			before := m.revision(t, "web", "current")
			i = m.inject(t, fault{Helper: "sm-docker-run", Verb: "remove", Unit: "web@*", What: late})
			m.edit(t, "web", single(next()))
			revision = m.next(t, "web", before)
			i.sprung(t)
			return revision, i
		}
		// back waits until the good revision serves again, and no client waits.
		back := func(t *testing.T) {
			t.Helper()
			m.serves(t, "web", serves)
			m.waitFor(t, patience, "! "+holding)
			if left := m.output(t, "ls /run/service-manager/holds"); left != "" {
				t.Errorf("held: %s", left)
			}
		}

		run("it succeeds", func(t *testing.T) {
			swaps(t)
			m.waitFor(t, patience, "journalctl -o cat -u sm-hold@web | grep ' waited, for at most '")
		})
		run("it is not healthy", func(t *testing.T) {
			m.edit(t, "web", single(next(), "APP_HEALTH=never").With("health_check", map[string]string{"timeout": "2s"}))
			m.waitFor(t, patience, "grep 'not healthy after 2s' /run/service-manager/web/*.failed")
			back(t)
		})
		for _, f := range []fault{
			{Helper: "sm-rollout", Verb: "replace", What: hang},
			{Helper: "sm-rollout", Verb: "replace", What: hang, After: true},
			{Helper: "sm-docker-run", Verb: "run", What: hang},
			{Helper: "sm-docker-run", Verb: "run", What: mute},
			{Helper: "sm-healthcheck", What: hang},
			{Helper: "sm-ipvs", Verb: "add", What: hang, After: true},
			{Helper: "sm-rollout", Verb: "accept", What: hang},
		} {
			f.Unit = "web@*"
			run("killed: "+f.name(), func(t *testing.T) {
				before := m.revision(t, "web", "current")
				i := m.inject(t, f)
				m.edit(t, "web", single(next()))
				rejected := m.next(t, "web", before)
				if f.What == mute {
					m.waitFor(t, patience, "docker ps --format '{{.Names}}' | grep "+rejected)
				}
				i.kill(t)
				m.waitFor(t, patience, "test -s /run/service-manager/web/"+rejected+".failed")
				back(t)
			})
		}
		run("killed: what keeps clients waiting", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-docker-run", Verb: "run", What: late})
			serves = next()
			m.edit(t, "web", single(serves))
			i.sprung(t)
			m.output(t, "systemctl kill -s KILL sm-hold@web")
			i.release(t)
			m.settled(t, "web", serves)
		})
		run("killed: its reject", func(t *testing.T) {
			revision := pending(t)
			i := m.inject(t, fault{Helper: "sm-rollout", Verb: "reject", Unit: "web@" + revision + ".service", What: hang})
			m.output(t, "systemctl kill --kill-whom=main -s KILL web@"+revision)
			i.kill(t)
			back(t)
		})
		run("killed: its replace, before the old one is stopped", func(t *testing.T) {
			container := m.output(t, "docker ps -q --filter label=service_name=web")
			before := m.revision(t, "web", "current")
			i := m.inject(t, fault{Helper: "sm-ipvs", Verb: "hold", What: hang, After: false})
			m.edit(t, "web", single(next()))
			rejected := m.next(t, "web", before)
			i.sprung(t)
			m.output(t, "pkill -KILL -f 'sm-rollout replace'")
			m.waitFor(t, patience, "test -s /run/service-manager/web/"+rejected+".failed\n! "+holding)
			back(t)
			if now := m.output(t, "docker ps -q --filter label=service_name=web"); now != container {
				t.Errorf("another container than before: %s, %s", now, container)
			}
		})
		run("clients cannot be kept waiting", func(t *testing.T) {
			container := m.output(t, "docker ps -q --filter label=service_name=web")
			before := m.revision(t, "web", "current")
			i := m.inject(t, fault{Helper: "sm-ipvs", Verb: "hold", What: fail, Always: true})
			fixed := next()
			m.edit(t, "web", single(fixed))
			pending := m.next(t, "web", before)
			m.waitFor(t, patience, "systemctl show -P StatusText web@"+pending+" | grep 'after .* failures in a row'")
			if now := m.output(t, "docker ps -q --filter label=service_name=web"); now != container {
				t.Errorf("another container than before: %s, %s", now, container)
			}
			// The host is why, so it is tried again.
			m.output(t, "journalctl -u web@"+pending+" | grep 'clients cannot be kept waiting'")
			i.remove(t)
			serves = fixed
			m.settled(t, "web", serves)
		})
		run("stopped", func(t *testing.T) {
			m.output(t, "systemctl stop web@"+pending(t))
			back(t)
		})
		run("stopped while the old one stops", func(t *testing.T) {
			revision, i := stuck(t)
			m.output(t, "systemctl stop web@"+revision)
			i.release(t)
			back(t)
		})
		run("the old one is started by hand", func(t *testing.T) {
			revision := pending(t)
			old := "web@" + m.revision(t, "web", "good")
			m.output(t, "systemctl start --no-block "+old)
			m.waitFor(t, patience, "systemctl show -P StatusText "+old+" | grep 'waiting for the end of web@"+revision+".service, which runs alone'")
			m.output(t, "systemctl stop web@"+revision)
			back(t)
		})
		run("edited meanwhile", func(t *testing.T) {
			pending(t)
			swaps(t)
			back(t)
		})
		run("edited while the old one stops", func(t *testing.T) {
			replaced, i := stuck(t)
			serves = next()
			m.edit(t, "web", single(serves))
			m.waitFor(t, patience, "test -e /run/service-manager/web/"+m.next(t, "web", replaced)+".alone")
			i.release(t)
			m.settled(t, "web", serves)
			back(t)
		})
		run("the service is stopped meanwhile", func(t *testing.T) {
			pending(t)
			m.output(t, "systemctl stop web@manager")
			if left := m.output(t, "docker ps -a --filter label=service-manager.unit --format '{{.Names}}'; ls /run/service-manager/holds /run/service-manager/web/*.env 2>/dev/null || true"); strings.Contains(left, "web.") || strings.Contains(left, "172") {
				t.Errorf("left: %s", left)
			}
			m.output(t, "systemctl start --no-block web@manager")
			m.waitFor(t, patience, "systemctl is-active web@manager")
			swaps(t)
			back(t)
		})
		run("one that may run beside it takes over", func(t *testing.T) {
			serves = next()
			m.edit(t, "web", app(serves))
			m.settled(t, "web", serves)
		})
		m.output(t, "systemctl stop events")
		running, most := map[string]bool{}, 0
		for _, line := range strings.Split(strings.TrimSpace(m.output(t, "cat /root/events")), "\n") {
			action, name, _ := strings.Cut(line, " ")
			delete(running, name)
			if action == "start" {
				running[name] = true
			}
			// The last revision may run beside the one before.
			if len(running) > 1 && !strings.Contains(name, m.revision(t, "web", "good")) {
				t.Errorf("at once: %v", running)
			}
			most = max(most, len(running))
		}
		if most == 0 {
			t.Error("no container was seen")
		}
		run("Docker is restarted meanwhile", func(t *testing.T) {
			pending(t)
			m.output(t, "systemctl restart docker")
			swaps(t)
			back(t)
		})
	})
}

// A worker has no clients to keep waiting.
func TestStopFirstWorker(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		worker := func(revision string) definition {
			return definition{"image": "app:1", "environment": map[string]string{"APP_REVISION": revision}, "rollout": map[string]string{"order": "stop-first"}}
		}
		good := func(revision string) {
			t.Helper()
			m.waitFor(t, patience, `cd /etc/service-manager/revisions/job
grep -q '"APP_REVISION": *"`+revision+`"' good
name=$(readlink good); name=${name%.json}
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}')" = "job.$name running"
systemctl is-active job@manager.service "job@$name.service"`)
		}
		m.edit(t, "job", worker("r0"))
		good("r0")
		m.edit(t, "job", worker("r1"))
		good("r1")
		if state := m.show(t, "sm-hold@job.service", "LoadState"); state != "not-found" {
			t.Errorf("sm-hold@job is %s", state)
		}
	})
}
