//go:build native

package native

import (
	"strings"
	"testing"
)

// worker returns a definition of the application to which no client connects.
func worker(revision string, settings ...string) definition {
	d := app(revision, settings...)
	delete(d, "address")
	delete(d, "port")
	return d
}

// works is the script of waiting until a revision of queue is good, and its container the
// only one, to which nothing leads.
func works(revision string) string {
	return `set -e
cd /etc/service-manager/revisions/queue
name=$(readlink good); name=${name%.json}
grep -q '"APP_REVISION": *"` + revision + `"' good
test "$(ls /run/service-manager/queue/*.env)" = "/run/service-manager/queue/$name.env"
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}')" = "queue.$name running"
test -z "$(ls /run/service-manager/ipvs 2>/dev/null)"
systemctl is-active queue@manager.service "queue@$name.service"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0`
}

// A service without an address rolls out like any other: the new revision has to stay
// up, or to answer its probe, and no traffic has a part in it.
func TestWorker(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.edit(t, "queue", worker("r0"))
		m.waitFor(t, patience, works("r0"))
		m.edit(t, "queue", worker("r1"))
		m.waitFor(t, patience, works("r1"))
		container := m.output(t, "docker ps -q --filter label=service-manager.unit")

		for revision, dies := range map[string]string{"r2": "APP_EXIT_AT_ONCE=1", "r3": "APP_EXIT_AFTER=800ms"} {
			before := m.revision(t, "queue", "current")
			m.edit(t, "queue", worker(revision, dies))
			rejected := m.next(t, "queue", before)
			m.waitFor(t, patience, "test -e /run/service-manager/queue/"+rejected+".failed\n"+works("r1"))
			if now := m.output(t, "docker ps -q --filter label=service-manager.unit"); now != container {
				t.Errorf("%s: container %s became %s", dies, container, now)
			}
		}

		asked := worker("r4", "APP_HEALTH=after=1s")
		m.edit(t, "queue", asked.With("health_check", map[string]any{"port": 80, "path": "/"}))
		m.waitFor(t, patience, works("r4"))

		// It gets an address, and loses it again.
		m.edit(t, "queue", app("r5"))
		m.serves(t, "queue", "r5")
		m.edit(t, "queue", worker("r6"))
		m.waitFor(t, patience, works("r6"))

		m.output(t, "systemctl stop queue@manager")
		if left := m.output(t, "docker ps -aq; ls /run/service-manager/queue; systemctl list-units --no-legend --state=active 'queue@*'"); strings.Contains(left, ".env") || strings.Contains(left, "queue@") || len(strings.Fields(left)) > strings.Count(left, ".failed") {
			t.Errorf("left over: %s", left)
		}
	})
}
