//go:build machine

package tests

import (
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

// A bad revision changes nothing, and clients notice nothing.
func TestBadRevisions(t *testing.T) {
	long(t) // tests/native has all but the load for each run
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("good"), "good")
	if err := g.ReverseForward(ctx(t, time.Minute), 5001, harness.EmptyRegistry(t)); err != nil {
		t.Fatal(err)
	}
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")

	for _, bad := range harness.BadRevisions() {
		t.Run(bad.Name, func(t *testing.T) {
			before := revisionName(t, g, "current")
			edit(t, g, "web", bad.Definition)
			waitFor(t, g, time.Minute, "test $(readlink /etc/service-manager/revisions/web/current) != "+before+".json")
			revision := revisionName(t, g, "current")
			waitFor(t, g, 3*time.Minute, "test -s /run/service-manager/web/"+revision+".failed && systemctl is-failed web@"+revision)
			t.Logf("rejected: %s", output(t, g, "cat /run/service-manager/web/"+revision+".failed"))
			servesAlone(t, g, "good")
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
