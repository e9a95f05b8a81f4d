//go:build machine

package tests

import (
	"strings"
	"testing"
	"time"
)

// The most important states of the units, with what only a machine of its own has: the
// kernel's balancer, clients, and a boot.
func TestGraph(t *testing.T) {
	long(t)
	g := withBundle(t)
	output(t, g, "/root/bundle/install.sh")
	first(t, g, app("r0"), "r0")
	// A byte after the end of an executable changes the file and not what it does.
	output(t, g, "cp -r /root/bundle /root/newer && for file in /root/newer/bin/*; do echo >> $file; done")
	// breakGood makes the good revision die at every start, from the next reload on.
	breakGood := func(t *testing.T) (good string) {
		t.Helper()
		good = revisionName(t, g, "good")
		output(t, g, strings.ReplaceAll(`mkdir -p /etc/systemd/system/web@GOOD.service.d
printf '[Service]\nExecStartPre=false\n' > /etc/systemd/system/web@GOOD.service.d/broken.conf`, "GOOD", good))
		return good
	}

	t.Run("an update, to another place, while a runner starts", func(t *testing.T) {
		l := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "2", "http://"+address+"/")
		edit(t, g, "web", app("r1", "APP_START_DELAY=30s"))
		waitFor(t, g, time.Minute, "docker ps --format '{{.Names}}' | grep -c ^web | grep -x 2")
		output(t, g, "/root/newer/install.sh --prefix /opt/service-manager")
		settled(t, g, "r1")
		noneLost(t, "through the update", l.stop(t))
	})
	t.Run("the good revision crash-loops, and is mended by hand", func(t *testing.T) {
		good := breakGood(t)
		output(t, g, "systemctl daemon-reload; docker kill $(docker ps -q)")
		took := waitFor(t, g, 2*time.Minute, "systemctl --failed --no-legend --plain | grep ^sm-outage@web.service")
		t.Logf("FIGURE seconds from the end of the last container until a unit tells of the outage: %.0f", took.Seconds())
		output(t, g, "rm -r /etc/systemd/system/web@"+good+".service.d && systemctl daemon-reload")
		settled(t, g, "r1")
		waitFor(t, g, time.Minute, "! systemctl --failed --no-legend --plain | grep sm-outage")
	})
	t.Run("the good revision dies at every start after a boot, and its successor needs its time", func(t *testing.T) {
		breakGood(t)
		output(t, g, "systemctl stop sm-fetch")
		edit(t, g, "web", app("r2", "APP_START_DELAY=10s"))
		if err := g.Reboot(ctx(t, 3*time.Minute)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		settled(t, g, "r2")
		t.Logf("FIGURE seconds from the first login after a reboot until the successor of a broken revision is good: %.1f", time.Since(begin).Seconds())
	})
}
