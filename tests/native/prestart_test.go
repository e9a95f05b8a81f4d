//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
)

// A revision serves only after what it runs once has succeeded, and that runs once.
func TestPreStart(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, "mkdir -p /srv/once && mkfifo /srv/once/go && : > /srv/once/log")
		// before returns a definition of nginx that runs a script of its shell before it.
		before := func(revision, script string) definition {
			return definition{"image": "nginx:1", "address": "172.17.0.1:7001", "port": 80,
				"environment": map[string]string{"REVISION": revision},
				"volumes":     []string{"/srv/once:/once"},
				"entrypoint":  []string{"/bin/sh", "-c"},
				"command":     []string{"exec /docker-entrypoint"},
				"pre_start":   map[string]any{"command": []string{script}, "timeout": "5m"}}
		}
		const (
			note  = "echo $REVISION >> /once/log"
			waits = "read line < /once/go; "
		)
		// good waits until a revision is good, and alone.
		good := func(revision string) {
			t.Helper()
			m.waitFor(t, patience, `set -e
cd /etc/service-manager/revisions/web
name=$(readlink good); name=${name%.json}
grep -q '"REVISION": *"`+revision+`"' good
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}')" = "web.$name running"
systemctl is-active web@manager.service "web@$name.service"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0`)
		}
		log := func(want string) {
			t.Helper()
			if got := strings.Join(strings.Fields(m.output(t, "cat /srv/once/log")), " "); got != want {
				t.Errorf("these have run once: %s; want %s", got, want)
			}
		}
		runs := "docker ps --format '{{.Names}}' | grep '[.]pre-start$'"

		m.edit(t, "web", before("r0", note))
		good("r0")
		log("r0")
		m.output(t, "systemctl restart web@"+m.revision(t, "web", "good"))
		good("r0")
		log("r0")

		// It fails: its last line is the reason, and the old revision keeps serving.
		was := m.revision(t, "web", "current")
		m.edit(t, "web", before("r1", "echo no such table >&2; exit 75"))
		rejected := m.next(t, "web", was)
		m.waitFor(t, patience, fmt.Sprintf("grep -F 'exited with status 75' /run/service-manager/web/%s.failed && journalctl -o cat -u web@%s | grep -F 'no such table'", rejected, rejected))
		good("r0")

		// Its helper is killed: nothing of it is left, and a start by hand runs it again.
		was = m.revision(t, "web", "current")
		m.edit(t, "web", before("r2", waits+note))
		m.waitFor(t, patience, runs)
		m.output(t, "pkill -KILL -f 'sm-docker-run once'")
		killed := m.next(t, "web", was)
		m.waitFor(t, patience, "test -s /run/service-manager/web/"+killed+".failed")
		good("r0")
		m.output(t, "systemctl start --no-block web@"+killed)
		m.waitFor(t, patience, runs)
		m.output(t, "echo > /srv/once/go")
		good("r2")
		log("r0 r2")

		// A stop of the service ends it, and a start runs it again.
		m.edit(t, "web", before("r3", waits+note))
		m.waitFor(t, patience, runs)
		m.output(t, "systemctl stop web@manager")
		if left := m.output(t, "docker ps -a --filter label=service-manager.unit --format '{{.Names}}'"); left != "" {
			t.Errorf("left: %s", left)
		}
		m.output(t, "systemctl start --no-block web@manager")
		m.waitFor(t, patience, runs)
		m.output(t, "echo > /srv/once/go")
		good("r3")
		log("r0 r2 r3")

		// Three replicas come to it at the same time, because the host fails the one that was
		// to do it first. One of them does it.
		m.inject(t, fault{Helper: "sm-docker-run", Verb: "pull", Unit: "web@*[0-9a-f][0-9a-f].service", What: lack})
		three := before("r4", waits+note)
		three["replicas"], three["rollout"] = 3, map[string]any{"parallel": 2}
		m.edit(t, "web", three)
		m.waitFor(t, patience, "test $(pgrep -cf 'sm-docker-run once') = 3 && "+runs)
		if n := m.output(t, runs+" | wc -l"); n != "1" {
			t.Errorf("%s run it at the same time", n)
		}
		m.output(t, "echo > /srv/once/go")
		m.waitFor(t, patience, `cd /etc/service-manager/revisions/web && grep -q '"REVISION": *"r4"' good && test "$(docker ps -q --filter label=service-manager.unit | wc -l)" = 3`)
		log("r0 r2 r3 r4")
		if left := m.output(t, "find /etc/service-manager/revisions -name '.pre-started-*.lock'"); left != "" {
			t.Errorf("left: %s", left)
		}
	})
}
