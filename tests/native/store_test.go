//go:build native

package native

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"service-manager/tests/harness"
	"service-manager/tests/pouchdb"
)

// A bad revision changes nothing, and everyone who looks learns why it is bad.
func TestBadRevisions(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("good"))
		good := m.revision(t, "web", "good")
		last := good
		m.reach(t, 5001, harness.EmptyRegistry(t))

		t.Run("invalid", func(t *testing.T) {
			m.edit(t, "web", app("bad").With("prot", 80).With("health_check", map[string]any{"path": "up"}))
			m.waitFor(t, patience, `journalctl -u sm-fetch --no-pager | grep 'web 2-[0-9a-f]*: health_check.path: must begin with "/" (got "up")'
journalctl -u sm-fetch --no-pager | grep 'web 2-[0-9a-f]*: prot: is not a field of a definition'`)
			if current := m.revision(t, "web", "current"); current != good {
				t.Errorf("current is %s, want %s", current, good)
			}
		})
		// What the runner's state and journal say about a revision that starts.
		for _, bad := range harness.BadRevisions() {
			t.Run(bad.Name, func(t *testing.T) {
				m.edit(t, "web", bad.Definition)
				last = m.next(t, "web", last)
				unit := "web@" + last + ".service"
				m.waitFor(t, patience, "test -s /run/service-manager/web/"+last+".failed; systemctl is-failed "+unit)
				status := m.show(t, unit, "StatusText")
				shown := m.output(t, "systemctl status --no-pager -l "+unit+" || true")
				reason := m.output(t, "cat /run/service-manager/web/"+last+".failed")
				t.Logf("status: %s", status)
				for _, part := range bad.Status {
					if !strings.Contains(status, part) || !strings.Contains(reason, part) {
						t.Errorf("%q is not in the status %q and the record %q", part, status, reason)
					}
				}
				for _, part := range bad.Shown {
					if !strings.Contains(shown, part) {
						t.Errorf("systemctl status does not show %q:\n%s", part, shown)
					}
				}
				// The reload takes it off the target's list, and nothing tries it again.
				m.waitFor(t, patience, "! grep -rq "+last+" /run/systemd/generator/service-manager.target.d && test -z \"$(docker ps -aq --filter name=web."+last+")\"")
				m.serves(t, "web", "good")
				if now := m.revision(t, "web", "good"); now != good {
					t.Errorf("good is %s, want %s", now, good)
				}
			})
		}
		t.Run("a registry out of reach", func(t *testing.T) {
			m.edit(t, "web", app("bad").With("image", "127.0.0.1:9/none:1"))
			last = m.next(t, "web", last)
			m.waitFor(t, patience, `systemctl show -P StatusText web@`+last+` | grep 'waiting until .* after [2-9] failures in a row'
journalctl -u web@`+last+` -o cat | grep 'pull image 127.0.0.1:9/none:1: .*connection refused'`)
			if failed := m.output(t, "ls /run/service-manager/web/"+last+".failed 2>/dev/null || true"); failed != "" {
				t.Error("it is rejected")
			}
			m.output(t, "systemctl is-active web@"+good+" web@manager")
		})
		t.Run("repaired", func(t *testing.T) {
			m.edit(t, "web", app("repaired"))
			m.settled(t, "web", "repaired")
			m.waitFor(t, patience, "test -z \"$(systemctl list-units --failed --no-legend 'web@*')\"")
		})
		t.Run("removed", func(t *testing.T) {
			before := m.revision(t, "web", "current")
			m.edit(t, "web", impatient("bad", neverHealthy))
			m.rejected(t, "web", m.next(t, "web", before))
			m.output(t, "rm /etc/service-manager/services/web.json")
			m.gone(t, "web")
		})
	})
}

// fetchStatus waits until sm-fetch's status contains that.
func (m *machine) fetchStatus(t testing.TB, text string) {
	t.Helper()
	m.waitFor(t, patience, `systemctl show -P StatusText sm-fetch
systemctl show -P StatusText sm-fetch | grep -qF '`+text+`'`)
}

// Definitions in a CouchDB, and what happens to services when it goes away.
func TestCouchDB(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		server := pouchdb.Start(t, t.TempDir())
		m := start(t, release)
		m.reach(t, 5984, server.Address)
		server.Send("PUT", "/services", "")
		m.output(t, `echo COUCHDB_URL=http://127.0.0.1:5984/services >> /etc/service-manager/service-manager.conf
systemctl restart sm-fetch`)
		m.fetchStatus(t, "following http://127.0.0.1:5984/services, 0 services")

		rev := server.Put("/services/web", "", app("r0").JSON(t))
		m.settled(t, "web", "r0")
		if current := m.revision(t, "web", "current"); current != rev {
			t.Errorf("the revision is %s, the server calls it %s", current, rev)
		}
		// roll has the server roll web over to a new revision.
		roll := func(t *testing.T, revision string) {
			t.Helper()
			rev = server.Put("/services/web", rev, app(revision).JSON(t))
			m.settled(t, "web", revision)
		}

		t.Run("a new revision", func(t *testing.T) { roll(t, "r1") })
		t.Run("an invalid revision", func(t *testing.T) {
			good := rev
			rev = server.Put("/services/web", rev, app("bad").With("health_check", map[string]any{"path": "up"}).JSON(t))
			m.fetchStatus(t, "1 with an invalid newest revision")
			line := "web " + rev + `: health_check.path: must begin with "/" (got "up")`
			m.waitFor(t, patience, "test \"$(journalctl -u sm-fetch --no-pager -o cat | grep -cF '"+line+"')\" = 1")
			if current := m.revision(t, "web", "current"); current != good {
				t.Errorf("current is %s, want %s", current, good)
			}
			m.settled(t, "web", "r1")
		})
		t.Run("a design document", func(t *testing.T) {
			server.Put("/services/_design/check", "", `{"validate_doc_update": "function () {}"}`)
			roll(t, "r2") // whatever came before this has been seen
			if services := m.output(t, "ls /etc/service-manager/revisions"); services != "web" {
				t.Errorf("there are revisions of %q", services)
			}
			if lines := m.output(t, "journalctl -u sm-fetch --no-pager -o cat | grep _design || true"); lines != "" {
				t.Errorf("the journal has %q", lines)
			}
		})
		t.Run("without the server", func(t *testing.T) {
			server.Stop()
			m.fetchStatus(t, "serving from disk")
			if out := m.output(t, "systemctl status --no-pager -l sm-fetch"); !strings.Contains(out, "127.0.0.1:5984/services: ") || !strings.Contains(out, "active (running)") {
				t.Errorf("systemctl status does not say what is wrong:\n%s", out)
			}
			m.output(t, "systemctl daemon-reload")
			m.settled(t, "web", "r2")
			// sm-fetch starts anyway, and the service too.
			m.output(t, "systemctl restart sm-fetch && systemctl restart web@manager")
			m.fetchStatus(t, "cannot read http://127.0.0.1:5984/services: ")
			m.settled(t, "web", "r2")
		})
		t.Run("with the server back", func(t *testing.T) {
			server.Start()
			roll(t, "r3")
			m.fetchStatus(t, "following http://127.0.0.1:5984/services, 1 service")
		})
		t.Run("with the database deleted", func(t *testing.T) {
			server.Send("DELETE", "/services", "")
			m.fetchStatus(t, "the database does not exist")
			m.output(t, "systemctl daemon-reload")
			m.settled(t, "web", "r3")
		})
		t.Run("with a new database in its place", func(t *testing.T) {
			server.Send("PUT", "/services", "")
			m.fetchStatus(t, "following http://127.0.0.1:5984/services, 1 service")
			m.settled(t, "web", "r3") // though the database does not have it
			rev = ""                  // in the new database the document is new
			roll(t, "r4")
		})
		t.Run("deleted", func(t *testing.T) {
			server.Send("DELETE", "/services/web?rev="+rev, "")
			m.gone(t, "web")
			m.nothingLeft(t)
			m.fetchStatus(t, "0 services")
		})
		t.Run("made again", func(t *testing.T) {
			rev = ""
			roll(t, "again")
		})
	})
}

// What the host lacks is no fault of a revision, also when systemd has reloaded, and so has
// forgotten half of what it knew about the step that fails.
func TestReloadWhileTheHostFails(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // connections wait to be accepted
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		m := start(t, release)
		m.first(t, "web", app("r0"))
		m.reach(t, 5001, silent.Addr().String())
		before := m.revision(t, "web", "good")
		m.edit(t, "web", app("bad").With("image", "127.0.0.1:5001/none:1"))
		next := m.next(t, "web", before)
		m.waitFor(t, patience, "systemctl show -P StatusText web@"+next+" | grep pulling")
		m.output(t, "systemctl daemon-reload")
		// Docker waits for 25s.
		m.waitFor(t, patience, "test $(systemctl show -P StatusText web@"+next+" | grep -c 'waiting until .* after a failure') = 1 || test -e /run/service-manager/web/"+next+".failed")
		if failed := m.output(t, "cat /run/service-manager/web/"+next+".failed 2>/dev/null || true"); failed != "" {
			t.Errorf("it is rejected: %s", failed)
		}
		m.edit(t, "web", app("r1"))
		m.settled(t, "web", "r1")
	})
}

// What the host has failed is tried again, although what does that is killed, too; and a
// stop leaves no failed unit of it.
func TestKilledWhileTheHostFails(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		before := m.revision(t, "web", "good")
		m.edit(t, "web", app("bad").With("image", "127.0.0.1:5001/none:1"))
		next := m.next(t, "web", before)
		attempts := "journalctl -u web@" + next + " -o cat | grep -c 'connection refused'"
		m.waitFor(t, patience, "test $("+attempts+") -ge 2; systemctl show -P StatusText web@"+next+" | grep 'waiting until .* after'")
		n := m.number(t, attempts)
		settle := "sm-settle@web@" + next
		m.output(t, "systemctl kill --signal KILL "+settle)
		m.waitFor(t, 2*patience, fmt.Sprintf("test $(%s) -ge %d", attempts, n+2))
		m.waitFor(t, patience, "test $(systemctl show -P SubState "+settle+") = start")
		m.output(t, "systemctl stop web@manager")
		if failed := m.output(t, "systemctl list-units --failed --no-legend 'sm-*'"); failed != "" {
			t.Errorf("failed units are left: %s", failed)
		}
	})
}

// gone waits until nothing of a service is left on disk, nor in its units.
func (m *machine) gone(t testing.TB, service string) {
	t.Helper()
	m.waitFor(t, patience, "! test -e /etc/service-manager/revisions/"+service+" && ! test -e /run/systemd/generator/"+service+"@manager.service")
	m.waitFor(t, patience, "test $(systemctl list-jobs --no-legend | wc -l) = 0 && test -z \"$(docker ps -aq --filter name="+service+")\"")
	if failed := m.output(t, "systemctl list-units --failed --no-legend '"+service+"@*' 'sm-*@"+service+"*'"); failed != "" {
		t.Errorf("failed units are left: %s", failed)
	}
}

// Edits that come much faster than their revisions start leave nothing behind but the
// newest, and what is kept of the past.
func TestManyEdits(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		const edits = 60
		m.output(t, fmt.Sprintf(`cd /etc/service-manager/services
cp web.json /root/
for i in $(seq %d); do sed "s/\"r0\"/\"e$i\"/" /root/web.json > web.json.new; mv web.json.new web.json; sleep 0.2; done`, edits))
		m.settled(t, "web", fmt.Sprintf("e%d", edits))
		for what, script := range map[string]string{
			"units":     "ls /run/systemd/generator | grep '^web@[0-9].*service$'",
			"runners":   "systemctl list-units --all --no-legend --state=active,activating,deactivating,failed 'web@[0-9]*'",
			"records":   "ls /run/service-manager/web",
			"revisions": "ls /etc/service-manager/revisions/web/[0-9]*.json",
		} {
			t.Logf("%s after %d edits at 5 a second: %s", what, edits, m.output(t, script+" | wc -l"))
		}
		m.output(t, `test $(ls /etc/service-manager/revisions/web/[0-9]*.json | wc -l) -le 12
test $(systemctl list-units --all --no-legend --state=active,activating,deactivating,failed 'web@[0-9]*' | wc -l) = 1`)
	})
}
