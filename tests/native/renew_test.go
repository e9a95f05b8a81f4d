//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
)

// renewed is the script that succeeds when the good revision of web, of which that is the
// runner ("" or ":2"), serves alone and is no other container than that one.
func renewed(runner, besides string) string {
	return strings.NewReplacer("NUMBER", runner, "DOTTED", strings.ReplaceAll(runner, ":", "."), "BESIDES", besides).Replace(`set -e
cd /etc/service-manager/revisions/web
name=$(readlink good); name=${name%.json}
test "$(ls /run/service-manager/web/*.env)" = "/run/service-manager/web/${name}NUMBER.env"
. "/run/service-manager/web/${name}NUMBER.env"
test "$SM_CONTAINER_ID" != "BESIDES"
test "$(sm-ipvs list --json | jq -r '.[].destinations[] | "\(.address) \(.weight)"')" = "$SM_CONTAINER_IP:80 1"
test "$(docker ps -a --no-trunc --filter label=service-manager.unit --format '{{.Names}} {{.State}} {{.ID}}')" = "web.${name}DOTTED running $SM_CONTAINER_ID"
test "$(systemctl list-units --no-legend --plain --state=active 'web@[0-9]*' | awk '{print $1}')" = "web@${name}NUMBER.service"
test "$(ls /run/systemd/generator/web@[0-9]*.service | wc -l)" = 1 || test NUMBER = :2
test "$(systemctl show -P ActiveState web@manager)" = active
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`)
}

// happened is the script that succeeds when that is what has become of containers since
// then, in the seconds of the epoch.
func happened(since, order string) string {
	return fmt.Sprintf(`test "$(docker events --since %s --until 0s --filter type=container --format '{{.Action}}' | grep -E '^(start|die)$' | xargs)" = "%s"`, since, order)
}

// A reload of the manager replaces the container by one of the same revision, beside the
// one that serves, and what fails then changes nothing.
func TestRenew(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		events := m.output(t, "date +%s")

		before := m.containers(t)
		scene(t, "reload", func(t *testing.T) {
			for _, runner := range []string{":2", "", ":2"} {
				m.output(t, "systemctl reload web@manager")
				m.waitFor(t, patience, renewed(runner, before))
				before = m.containers(t)
			}
			// The new one is healthy before the old one is told to stop.
			m.waitFor(t, patience, happened(events, "start die start die start die"))
		})
		scene(t, "its container dies", func(t *testing.T) {
			m.output(t, "kill -9 $(docker inspect -f '{{.State.Pid}}' "+before+")")
			m.waitFor(t, patience, renewed(":2", before))
			before = m.containers(t)
		})
		scene(t, "the manager is restarted, and a reload comes by hand", func(t *testing.T) {
			m.output(t, "systemctl restart web@manager && systemctl daemon-reload")
			m.waitFor(t, patience, renewed(":2", ""))
			m.unchanged(t, before)
		})
		scene(t, "the new one fails", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: fail, Always: true})
			if out, status := m.try(t, "systemctl reload web@manager"); status == 0 {
				t.Errorf("the reload succeeded: %s", out)
			}
			m.waitFor(t, patience, renewed(":2", "")+"\njournalctl -o cat -u web@manager | grep -E '^(<3>)?sm-rollout: error: web: not renewed: .*; web@1-[0-9a-f]+:2.service keeps serving'")
			m.unchanged(t, before)
			i.remove(t)
		})
		for _, f := range []fault{
			{Helper: "sm-rollout", Verb: "renew", What: hang},
			{Helper: "sm-rollout", Verb: "accept", What: hang},
			{Helper: "sm-ipvs", Verb: "add", What: hang},
		} {
			f.Unit = "web@*"
			scene(t, "killed: "+f.name(), func(t *testing.T) {
				i := m.inject(t, f)
				m.output(t, "systemctl reload --no-block web@manager")
				i.kill(t)
				m.waitFor(t, patience, renewed(":2", ""))
				m.unchanged(t, before)
			})
		}
		scene(t, "edited meanwhile", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: late})
			m.output(t, "systemctl reload --no-block web@manager")
			i.sprung(t)
			m.edit(t, "web", app("r1"))
			m.serves(t, "web", "r1")
			i.release(t)
			m.settled(t, "web", "r1")
			m.output(t, "systemctl daemon-reload; test $(ls /run/systemd/generator/web@[0-9]*.service | wc -l) = 1")
		})
		scene(t, "stopped meanwhile", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: late})
			m.output(t, "systemctl reload --no-block web@manager")
			i.sprung(t)
			m.output(t, "systemctl stop web@manager")
			i.release(t)
			m.nothingLeft(t)
			m.output(t, "systemctl start web@manager")
			m.settled(t, "web", "r1")
		})
		scene(t, "beside a revision that was rejected", func(t *testing.T) {
			before := m.revision(t, "web", "current")
			m.edit(t, "web", app("never", "APP_HEALTH=never").With("health_check", map[string]any{"timeout": "1s"}))
			rejected := m.next(t, "web", before)
			m.waitFor(t, patience, "test -s /run/service-manager/web/"+rejected+".failed")
			m.serves(t, "web", "r1")
			was := m.containers(t)
			m.output(t, "systemctl reload web@manager")
			m.waitFor(t, patience, fmt.Sprintf("test $(%s) != %s\nsm-ipvs check 172.17.0.1:7001", "docker ps -q --no-trunc --filter label=service-manager.unit", was))
		})
		scene(t, "one that must run alone", func(t *testing.T) {
			m.edit(t, "web", app("r2").With("rollout", map[string]any{"order": "stop-first"}))
			m.settled(t, "web", "r2")
			was := m.containers(t)
			events := m.output(t, "date +%s")
			m.output(t, "systemctl reload web@manager")
			m.settled(t, "web", "r2")
			if now := m.containers(t); now == was {
				t.Error("it is the container of before")
			}
			m.waitFor(t, patience, happened(events, "die start"))
		})
	})
}
