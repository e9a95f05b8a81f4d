//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"
)

// replicated is the script that succeeds when that many replicas of a revision of the
// application serve, and are all there is of the service.
func replicated(revision string, n int) string {
	return strings.NewReplacer("REVISION", revision, "NUMBER", fmt.Sprint(n)).Replace(`
cd /etc/service-manager/revisions/web
name=$(readlink good); name=${name%.json}
test "$(ls /run/service-manager/web/*.env | wc -l)" = NUMBER
test "$(ls /run/service-manager/web/$name*.env | wc -l)" = NUMBER
test -z "$(ls /run/service-manager/web/*.ready 2>/dev/null)"
test "$(docker ps -a --filter label=service-manager.unit --format '{{.State}}' | grep -c running)" = NUMBER
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = NUMBER
test "$(sm-ipvs list --json 172.17.0.1:7001 | jq '.[].destinations | map(select(.weight == 1)) | length')" = NUMBER
for record in /run/service-manager/web/$name*.env; do
	. $record
	sm-ipvs list --json 172.17.0.1:7001 | jq -e --arg a "$SM_CONTAINER_IP:80" '.[].destinations | any(.address == $a)'
	curl -fsS -m 5 -o /dev/null -D - http://$SM_CONTAINER_IP:80/ | tr -d '\r' | grep -ix 'x-revision: REVISION'
	runner=${record##*/}
	systemctl is-active web@${runner%.env}.service
done
systemctl is-active web@manager.service
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`)
}

// A revision with several replicas becomes good when all of them serve, and not at all if
// one does not; a change of their number alone touches no other container.
func TestReplicas(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		of := func(revision string, replicas, parallel int, settings ...string) definition {
			return app(revision, settings...).With("replicas", replicas).With("rollout", map[string]any{"parallel": parallel})
		}
		m.edit(t, "web", of("r0", 2, 1))
		m.waitFor(t, patience, replicated("r0", 2))

		scene(t, "one after the other", func(t *testing.T) {
			since := m.output(t, "date +%s")
			m.edit(t, "web", of("r1", 3, 1))
			m.waitFor(t, patience, replicated("r1", 3))
			m.waitFor(t, patience, happened(since, "start start start die die"))
			// Each starts when the one before it serves.
			if order := m.output(t, "journalctl -b -o cat -u 'web@2-*' | grep -oE '^Start(ing|ed) web@' | cut -d' ' -f1 | xargs"); order != "Starting Started Starting Started Starting Started" {
				t.Errorf("three replicas: %s", order)
			}
		})
		scene(t, "the number alone", func(t *testing.T) {
			before := m.containers(t)
			good := m.revision(t, "web", "good")
			m.edit(t, "web", of("r1", 5, 1))
			m.waitFor(t, patience, replicated("r1", 5))
			m.stillThere(t, before)
			m.edit(t, "web", of("r1", 2, 1))
			m.waitFor(t, patience, replicated("r1", 2))
			if now := m.containers(t); !containsAll(before, now) {
				t.Errorf("the containers %s are not among %s", now, before)
			}
			if now := m.revision(t, "web", "good"); now != good {
				t.Errorf("the good revision was %s, and is %s", good, now)
			}
			before = m.containers(t)
			m.output(t, "systemctl restart sm-fetch web@manager; systemctl daemon-reload")
			m.waitFor(t, patience, replicated("r1", 2))
			m.unchanged(t, before)
		})
		scene(t, "one fails", func(t *testing.T) {
			before := m.containers(t)
			current := m.revision(t, "web", "current")
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*:2.service", What: fail, Always: true})
			m.edit(t, "web", of("r2", 3, 2))
			rejected := m.next(t, "web", current)
			m.waitFor(t, patience, replicated("r1", 2)+"grep -q '^replica 2: ' /run/service-manager/web/"+rejected+".failed\n")
			m.unchanged(t, before)
			i.remove(t)
		})
		scene(t, "renew", func(t *testing.T) {
			for range 2 {
				before := m.containers(t)
				m.output(t, "systemctl reload web@manager")
				m.waitFor(t, patience, replicated("r1", 2))
				for _, id := range strings.Fields(before) {
					if strings.Contains(m.containers(t), id) {
						t.Errorf("the container %s is still there", id)
					}
				}
			}
		})
		scene(t, "one dies", func(t *testing.T) {
			m.output(t, "kill -9 $(docker inspect -f '{{.State.Pid}}' $(docker ps -q --filter label=service-manager.unit | head -n 1))")
			m.waitFor(t, patience, replicated("r1", 2))
		})
		scene(t, "stopped and started", func(t *testing.T) {
			m.output(t, "systemctl stop web@manager")
			m.nothingLeft(t)
			m.output(t, "systemctl start web@manager")
			m.waitFor(t, patience, replicated("r1", 2))
		})
	})
}

// What may go wrong while there are several replicas, and what is left then.
func TestReplicaFaults(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		n, good := 0, ""
		edit := func(t *testing.T, replicas int) (revision string) {
			t.Helper()
			n++
			current := m.output(t, "readlink /etc/service-manager/revisions/web/current || true")
			m.edit(t, "web", app(fmt.Sprintf("r%d", n)).With("replicas", replicas))
			return m.next(t, "web", strings.TrimSuffix(current, ".json"))
		}
		// halfway edits, and waits until the first replica serves and the second one waits to.
		halfway := func(t *testing.T, replicas int) (revision string, i injection) {
			t.Helper()
			i = m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*:2.service", What: late})
			revision = edit(t, replicas)
			i.sprung(t)
			return revision, i
		}
		serves := func(t *testing.T, replicas int) {
			t.Helper()
			good = fmt.Sprintf("r%d", n)
			m.waitFor(t, patience, replicated(good, replicas))
		}
		edit(t, 2)
		serves(t, 2)

		rejected := ""
		for name, faults := range map[string][]fault{
			"the first one is killed at its last step":    {{Helper: "sm-rollout", Verb: "accept", Unit: "web@*-" + strings.Repeat("?", 32) + ".service", What: kill}},
			"the second one is killed at its last step":   {{Helper: "sm-rollout", Verb: "accept", Unit: "web@*:2.service", What: kill}},
			"the second one is killed as it gets clients": {{Helper: "sm-ipvs", Verb: "add", Unit: "web@*:2.service", What: kill, After: true}},
			"the second one fails, and what rejects it is killed": {
				{Helper: "sm-healthcheck", Unit: "web@*:2.service", What: fail}, {Helper: "sm-rollout", Verb: "reject", Unit: "web@*:2.service", What: kill}},
			"the second one fails, and what rejects it is killed after that": {
				{Helper: "sm-healthcheck", Unit: "web@*:2.service", What: fail}, {Helper: "sm-rollout", Verb: "reject", Unit: "web@*:2.service", What: kill, After: true}},
		} {
			scene(t, name, func(t *testing.T) {
				before := m.containers(t)
				for _, f := range faults {
					m.inject(t, f)
				}
				rejected = edit(t, 2)
				m.waitFor(t, patience, replicated(good, 2)+"test -s /run/service-manager/web/"+rejected+".failed")
				m.unchanged(t, before)
			})
		}
		scene(t, "a rejected revision is started by hand", func(t *testing.T) {
			m.output(t, "systemctl start web@"+rejected)
			serves(t, 2)
		})
		scene(t, "one ends well before the other one serves", func(t *testing.T) {
			before := m.containers(t)
			rejected, i := halfway(t, 2)
			m.output(t, "docker kill -s TERM web."+rejected)
			m.waitFor(t, patience, "test -s /run/service-manager/web/"+rejected+".failed")
			i.release(t)
			m.waitFor(t, patience, replicated(good, 2))
			m.unchanged(t, before)
		})
		for _, number := range []string{"", ":2"} {
			scene(t, "one is stopped before the other one serves, and started: "+number, func(t *testing.T) {
				before := m.containers(t)
				pending, i := halfway(t, 2)
				m.output(t, "systemctl stop web@"+pending+number)
				i.release(t)
				m.waitFor(t, patience, replicated(good, 2)+"test ! -e /run/service-manager/web/"+pending+".failed")
				m.unchanged(t, before)
				m.output(t, "systemctl start web@"+pending+number)
				serves(t, 2)
			})
		}
		scene(t, "edited before the other one serves", func(t *testing.T) {
			_, i := halfway(t, 2)
			edit(t, 3)
			i.release(t)
			serves(t, 3)
		})
		scene(t, "edited before the other one serves, to one that fails", func(t *testing.T) {
			before := m.containers(t)
			pending, i := halfway(t, 3)
			n++
			m.edit(t, "web", app("never", "APP_HEALTH=never").With("health_check", map[string]any{"timeout": "1s"}).With("replicas", 3))
			rejected := m.next(t, "web", pending)
			m.waitFor(t, patience, "test -s /run/service-manager/web/"+rejected+".failed")
			i.release(t)
			m.waitFor(t, patience, replicated(good, 3))
			m.unchanged(t, before)
		})
		scene(t, "stopped before the other one serves", func(t *testing.T) {
			_, i := halfway(t, 3)
			m.output(t, "systemctl stop web@manager")
			i.release(t)
			m.nothingLeft(t)
			m.output(t, "systemctl start web@manager")
			serves(t, 3)
		})
		for _, f := range []fault{
			{Helper: "sm-rollout", Verb: "renew", What: hang},
			{Helper: "sm-rollout", Verb: "accept", What: hang},
			{Helper: "sm-ipvs", Verb: "drain", What: hang},
		} {
			scene(t, "renewed and killed: "+f.name(), func(t *testing.T) {
				f.Unit = "web@*"
				i := m.inject(t, f)
				m.output(t, "systemctl reload --no-block web@manager")
				i.kill(t)
				serves(t, 3)
			})
		}
		number := func(t *testing.T, replicas int) {
			t.Helper()
			m.edit(t, "web", app(good).With("replicas", replicas))
		}
		scene(t, "their number changes during a renewal", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: late})
			m.output(t, "systemctl reload --no-block web@manager")
			i.sprung(t)
			number(t, 2)
			m.waitFor(t, patience, "grep '^2 ' /etc/service-manager/revisions/web/.replicas-*")
			i.release(t)
			serves(t, 2)
			m.output(t, "systemctl reload web@manager")
			serves(t, 2)
		})
		for _, change := range []struct {
			what     string
			replicas int
		}{{kill, 4}, {fail, 1}} {
			scene(t, "their number changes: "+change.what, func(t *testing.T) {
				before := m.containers(t)
				m.inject(t, fault{Helper: "sm-rollout", Verb: "scale", What: change.what})
				number(t, change.replicas)
				serves(t, change.replicas)
				if now := m.containers(t); !containsAll(now, before) && !containsAll(before, now) {
					t.Errorf("the containers %s became %s", before, now)
				}
			})
		}
		scene(t, "one more that never serves", func(t *testing.T) {
			before := m.containers(t)
			i := m.inject(t, fault{Helper: "sm-healthcheck", Unit: "web@*", What: fail, Always: true})
			number(t, 2)
			m.waitFor(t, patience, "test $(systemctl show -P NRestarts web@*:2.service) -ge 2")
			m.stillThere(t, before)
			i.remove(t)
			serves(t, 2)
		})
	})
}

// containers returns the ids of the containers of all services.
func (m *machine) containers(t testing.TB) string {
	t.Helper()
	return m.output(t, "docker ps -q --no-trunc --filter label=service-manager.unit | sort | xargs")
}

// unchanged checks that the containers are those of before.
func (m *machine) unchanged(t testing.TB, before string) {
	t.Helper()
	if now := m.containers(t); now != before {
		t.Errorf("the containers %s became %s", before, now)
	}
}

// stillThere checks that the containers of before are there, perhaps with others.
func (m *machine) stillThere(t testing.TB, before string) {
	t.Helper()
	if now := m.containers(t); !containsAll(now, before) {
		t.Errorf("of the containers %s some are not among %s", before, now)
	}
}

func containsAll(all, some string) bool {
	for _, one := range strings.Fields(some) {
		if !strings.Contains(all, one) {
			return false
		}
	}
	return true
}
