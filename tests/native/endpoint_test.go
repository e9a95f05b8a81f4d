//go:build native

package native

import "testing"

// worker returns a definition of the application for a service to which no client
// connects.
func worker(revision string, settings ...string) definition {
	d := app(revision, settings...)
	delete(d, "address")
	delete(d, "port")
	return d
}

// Every endpoint of a service moves with a rollout. If one of them cannot, none does.
func TestEndpoints(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		several := func(revision string, more ...any) definition {
			return worker(revision).With("endpoints", append([]any{
				map[string]any{"address": "172.17.0.1:7001", "port": 80},
				map[string]any{"address": "172.17.0.1:7002", "port": 80, "scheduler": "wlc"},
				map[string]any{"address": "172.17.0.1:7002", "port": 80, "protocol": "udp"},
			}, more...))
		}
		// serve is the script of waiting until a revision serves at all of them, alone.
		serve := func(revision string) string {
			return `set -e
PATH=$PATH:/opt/service-manager/bin
cd /etc/service-manager/revisions/dns
name=$(readlink good); name=${name%.json}
grep -q '"APP_REVISION": *"` + revision + `"' good
. "/run/service-manager/dns/$name.env"
test "$(sm-ipvs list --json | jq -r '.[] | "\(.address)/\(.protocol) \(.scheduler) \(.destinations | map("\(.address) \(.weight)") | join(","))"' | sort)" = "172.17.0.1:7001/tcp rr $SM_CONTAINER_IP:80 1
172.17.0.1:7002/tcp wlc $SM_CONTAINER_IP:80 1
172.17.0.1:7002/udp rr $SM_CONTAINER_IP:80 1"
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}')" = "dns.$name running"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0`
		}
		m.edit(t, "dns", several("r0"))
		m.waitFor(t, patience, serve("r0"))
		m.edit(t, "dns", several("r1"))
		m.waitFor(t, patience, serve("r1"))

		// A drain that fails, and one that is killed, do not keep the next one from running.
		m.inject(t, fault{Helper: "sm-ipvs", Verb: "drain", What: fail})
		second := m.inject(t, fault{Helper: "sm-ipvs", Verb: "drain", What: hang})
		third := m.inject(t, fault{Helper: "sm-ipvs", Verb: "drain", What: late})
		m.edit(t, "dns", several("r2"))
		second.kill(t)
		third.sprung(t)
		third.release(t)
		m.waitFor(t, patience, serve("r2"))

		before := m.revision(t, "dns", "current")
		m.edit(t, "dns", several("r3", map[string]any{"address": "192.0.2.1:7003", "port": 80}))
		rejected := m.next(t, "dns", before)
		m.waitFor(t, patience, "grep -F '192.0.2.1 is not an address of this host' /run/service-manager/dns/"+rejected+".failed\n"+serve("r2"))

		// An address that another service has is named.
		m.edit(t, "web", app("r0").With("address", "172.17.0.1:7002"))
		m.waitFor(t, patience, "journalctl -o cat -u sm-fetch | grep -F 'address: 172.17.0.1:7002 is the address of dns'")

		m.edit(t, "dns", app("r4"))
		m.serves(t, "dns", "r4")
		m.serves(t, "web", "r0")
	})
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

// A service without an address rolls out like any other: the new revision has to stay up,
// or to answer its probe, and traffic plays no part in it.
func TestWorker(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
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
		if left := m.output(t, "docker ps -aq; find /run/service-manager/queue -type f ! -name '*.failed'; systemctl list-units --no-legend --state=active 'queue@*'"); left != "" {
			t.Errorf("left over: %s", left)
		}
	})
}
