//go:build native

package native

import (
	"fmt"
	"testing"
)

// A stop between two starts of the manager, when systemd runs no command of it,
// stops its runners too.
func TestStopInThePause(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		f := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: hang})
		m.edit(t, "web", app("r0"))
		f.sprung(t)
		m.output(t, `systemctl kill --kill-whom=main -s KILL web@manager
until systemctl show -P SubState web@manager | grep -q auto-restart; do sleep 0.02; done
systemctl stop web@manager`)
		m.waitFor(t, patience, gone("web"))
	})
}

// Each command of the graph, killed: the next edit or start by hand is served.
func TestGraphKilled(t *testing.T) {
	forReleases(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		n := 0
		for _, verb := range []string{"start", "wait", "accept", "reject", "settle", "restore"} {
			m.stop(t, "web")
			n++
			helper := "sm-rollout"
			if verb == "restore" {
				helper = "sm-ipvs"
			}
			m.inject(t, fault{Helper: helper, Verb: verb, What: kill})
			if verb == "reject" {
				m.inject(t, fault{Helper: "sm-healthcheck", Unit: fmt.Sprintf("web@%d-*", n+1), What: fail})
			}
			m.edit(t, "web", app(fmt.Sprint("killed-", verb)))
			m.output(t, "sm-fetch once web; systemctl start --no-block web@manager")
			m.waitFor(t, patience, "systemctl is-active web@manager; test $(systemctl list-jobs --no-legend | wc -l) = 0")
			// Good or rejected: it is not left between.
			m.waitFor(t, patience, `cd /etc/service-manager/revisions/web; name=$(readlink current); name=${name%.json}
test "$(readlink good)" = $name.json || test -s /run/service-manager/web/$name.failed`)
			m.edit(t, "web", app(fmt.Sprint("after-", verb)))
			m.settled(t, "web", fmt.Sprint("after-", verb))
			n++
		}
		m.inject(t, fault{Helper: "sm-rollout", Verb: "stop", What: kill})
		m.stop(t, "web")
	})
}
