//go:build machine

package tests

import (
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

// A bad revision changes nothing, and everyone who looks learns why it is bad.
func TestBadRevisions(t *testing.T) {
	long(t) // tests/native has all but the load for each run
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("good"), "good")
	good := revisionName(t, g, "good")
	if err := g.ReverseForward(ctx(t, time.Minute), 5001, harness.EmptyRegistry(t)); err != nil {
		t.Fatal(err)
	}
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")

	t.Run("invalid", func(t *testing.T) {
		edit(t, g, "web", app("bad").With("prot", 80).With("health_check", map[string]any{"path": "up"}))
		waitFor(t, g, time.Minute, `journalctl -u sm-fetch --no-pager | grep 'web 2-[0-9a-f]*: health_check.path: must begin with "/" (got "up")'
journalctl -u sm-fetch --no-pager | grep 'web 2-[0-9a-f]*: prot: is not a field of a definition'`)
		if current := revisionName(t, g, "current"); current != good {
			t.Errorf("current is %s, want %s", current, good)
		}
	})

	// What the runner's state and journal say of a revision that starts.
	for _, bad := range []struct {
		name   string
		d      definition
		status []string // parts of the status line
		shown  []string // parts of what systemctl status shows
	}{
		{"unknown image", app("bad").With("image", "127.0.0.1:5001/none:1"), []string{"pull image 127.0.0.1:5001/none:1: not found in the registry"}, nil},
		{"exits at once", app("bad", "APP_EXIT_AT_ONCE=1", "APP_EXIT_STATUS=3", "APP_LAST_LINE=no configuration"),
			[]string{"exited with status 3"}, []string{"no configuration"}},
		{"never healthy", app("bad", "APP_HEALTH=never").With("health_check", map[string]any{"timeout": "5s"}),
			[]string{"not healthy after 5s: GET http://172.17.0.", ": 503 Service Unavailable"}, []string{"listening on"}},
		{"healthy, then dies", app("bad", "APP_EXIT_AFTER=900ms", "APP_EXIT_STATUS=4", "APP_LAST_LINE=out of luck"),
			[]string{"exited with status 4"}, []string{"out of luck"}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			edit(t, g, "web", bad.d)
			waitFor(t, g, time.Minute, "test $(readlink /etc/service-manager/revisions/web/current) != "+good+".json")
			revision := revisionName(t, g, "current")
			unit := "web@" + revision + ".service"
			waitFor(t, g, 3*time.Minute, "test -s /run/service-manager/web/"+revision+".failed && systemctl is-failed "+unit)
			status := output(t, g, "systemctl show -P StatusText "+unit)
			shown := output(t, g, "systemctl status --no-pager -l "+unit+" || true")
			reason := output(t, g, "cat /run/service-manager/web/"+revision+".failed")
			t.Logf("status: %s", status)
			for _, part := range bad.status {
				if !strings.Contains(status, part) || !strings.Contains(reason, part) {
					t.Errorf("%q is not in the status %q and the record %q", part, status, reason)
				}
			}
			for _, part := range bad.shown {
				if !strings.Contains(shown, part) {
					t.Errorf("systemctl status does not show %q:\n%s", part, shown)
				}
			}
			// After the reload nothing tries it again.
			waitFor(t, g, time.Minute, "! grep -q ^Upholds=.*"+revision+" /run/systemd/generator/web@manager.service && test -z \"$(docker ps -aq --filter name=web."+revision+")\"")
			if now := revisionName(t, g, "good"); now != good {
				t.Errorf("good is %s, want %s", now, good)
			}
			if n := output(t, g, "ipvsadm -Ln | grep -c Masq"); n != "1" {
				t.Errorf("%s destinations, want one", n)
			}
		})
	}
	t.Run("repaired", func(t *testing.T) {
		edit(t, g, "web", app("repaired"))
		settled(t, g, "repaired")
		if failed := output(t, g, "systemctl list-units --failed --no-legend 'web@*'"); failed != "" {
			t.Errorf("still failed after a good revision: %s", failed)
		}
	})
	noneLost(t, "through all bad revisions", l.stop(t))
	checkOthers()
}
