//go:build machine

package tests

import (
	"strings"
	"testing"
	"time"

	"service-manager/tests/pouchdb"
	"service-manager/tests/vm"
)

// fetchStatus waits until sm-fetch's status contains that.
func fetchStatus(t testing.TB, g *vm.Guest, text string) {
	t.Helper()
	took := waitFor(t, g, 2*time.Minute, `systemctl show -P StatusText sm-fetch
systemctl show -P StatusText sm-fetch | grep -qF '`+text+`'`)
	t.Logf("sm-fetch says %q after %.1fs", text, took.Seconds())
}

// Definitions in a CouchDB, and what happens to services when it goes away.
func TestCouchDB(t *testing.T) {
	long(t) // tests/native has all but the load for each run
	server := pouchdb.Start(t, t.TempDir())
	g := start(t, installed(t, bookworm), vm.Options{})
	if err := g.ReverseForward(ctx(t, time.Minute), 5984, server.Address); err != nil {
		t.Fatal(err)
	}
	server.Send("PUT", "/services", "")
	output(t, g, `echo COUCHDB_URL=http://127.0.0.1:5984/services >> /etc/service-manager/service-manager.conf
systemctl restart sm-fetch`)
	fetchStatus(t, g, "following http://127.0.0.1:5984/services, 0 services")

	rev := server.Put("/services/web", "", app("r0").JSON(t))
	settled(t, g, "r0")
	if current := revisionName(t, g, "current"); current != rev {
		t.Errorf("the revision is %s, the server calls it %s", current, rev)
	}
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")
	// roll has the server roll web over to a new revision.
	roll := func(t *testing.T, revision string) {
		t.Helper()
		begin := time.Now()
		rev = server.Put("/services/web", rev, app(revision).JSON(t))
		answers(t, g, revision)
		t.Logf("from the PUT to the first answer: %.1fs", time.Since(begin).Seconds())
		settled(t, g, revision)
	}

	t.Run("a new revision", func(t *testing.T) { roll(t, "r1") })
	t.Run("an invalid revision", func(t *testing.T) {
		good := rev
		rev = server.Put("/services/web", rev, app("bad").With("health_check", map[string]any{"path": "up"}).JSON(t))
		fetchStatus(t, g, "1 with an invalid newest revision")
		line := "web " + rev + `: health_check.path: must begin with "/" (got "up")`
		waitFor(t, g, time.Minute, "test \"$(journalctl -u sm-fetch --no-pager -o cat | grep -cF '"+line+"')\" = 1")
		if current := revisionName(t, g, "current"); current != good {
			t.Errorf("current is %s, want %s", current, good)
		}
		settled(t, g, "r1")
	})
	t.Run("a design document", func(t *testing.T) {
		server.Put("/services/_design/check", "", `{"validate_doc_update": "function () {}"}`)
		roll(t, "r2") // whatever came before this has been seen
		if services := output(t, g, "ls /etc/service-manager/revisions"); services != "web" {
			t.Errorf("there are revisions of %q", services)
		}
		if lines := output(t, g, "journalctl -u sm-fetch --no-pager -o cat | grep _design || true"); lines != "" {
			t.Errorf("the journal has %q", lines)
		}
	})

	t.Run("without the server", func(t *testing.T) {
		server.Stop()
		fetchStatus(t, g, "serving from disk")
		if out := output(t, g, "systemctl status --no-pager -l sm-fetch"); !strings.Contains(out, "127.0.0.1:5984/services: ") || !strings.Contains(out, "active (running)") {
			t.Errorf("systemctl status does not say what is wrong:\n%s", out)
		}
		output(t, g, "systemctl daemon-reload")
		settled(t, g, "r2")
		// sm-fetch starts anyway, and the service too.
		output(t, g, "systemctl restart sm-fetch && systemctl restart web@manager")
		fetchStatus(t, g, "cannot read http://127.0.0.1:5984/services: ")
		settled(t, g, "r2")
	})
	t.Run("with the server back", func(t *testing.T) {
		server.Start()
		roll(t, "r3")
		fetchStatus(t, g, "following http://127.0.0.1:5984/services, 1 service")
	})
	t.Run("with the database deleted", func(t *testing.T) {
		server.Send("DELETE", "/services", "")
		fetchStatus(t, g, "the database does not exist")
		output(t, g, "systemctl daemon-reload")
		settled(t, g, "r3")
	})
	t.Run("with the database recreated", func(t *testing.T) {
		server.Send("PUT", "/services", "")
		fetchStatus(t, g, "following http://127.0.0.1:5984/services, 1 service")
		settled(t, g, "r3") // though the database does not have it
		rev = ""            // in the new database the document is new
		roll(t, "r4")
	})
	noneLost(t, "through all of this", l.stop(t))

	t.Run("deleted", func(t *testing.T) {
		slow := sendLoad(t, g, "", "--connections-per-second", "0", "--keep-alive", "0", "--slow", "2", "--slow-for", "3s", "--for", "900ms", "http://"+address+"/")
		waitFor(t, g, time.Minute, bothUnderWay)
		server.Send("DELETE", "/services/web?rev="+rev, "")
		noneLost(t, "requests under way when the document was deleted", slow.wait(t))
		waitFor(t, g, 2*time.Minute, "! test -e /etc/service-manager/revisions/web && ! test -e /run/systemd/generator/web@manager.service")
		nothingLeft(t, g)
		fetchStatus(t, g, "0 services")
	})
	t.Run("made again", func(t *testing.T) {
		rev = ""
		roll(t, "again")
	})
}
