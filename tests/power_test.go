//go:build machine

package tests

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is random in the tests")

// The store of definitions is not needed to serve.
func TestRebootWithCouchDBDown(t *testing.T) {
	medium(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	// The definitions come from a folder first, and from nowhere afterwards.
	first(t, g, app("r0"), "r0")
	output(t, g, `sed -i '/COUCHDB_URL=/d' /etc/service-manager/service-manager.conf
echo COUCHDB_URL=http://127.0.0.1:5984/services >> /etc/service-manager/service-manager.conf
mv /etc/service-manager/services /root/
systemctl restart sm-fetch`)
	good := revisionName(t, g, "good")
	boot := output(t, g, "cat /proc/sys/kernel/random/boot_id")
	if err := g.Reboot(ctx(t, 3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	took := servesAlone(t, g, "r0")
	t.Logf("FIGURE seconds from the first login after a reboot until all is tidy: %.1f", took.Seconds())
	if now := output(t, g, "cat /proc/sys/kernel/random/boot_id"); now == boot {
		t.Error("the machine has not rebooted")
	}
	if now := revisionName(t, g, "good"); now != good {
		t.Errorf("good is %s, want %s", now, good)
	}
	waitFor(t, g, 3*time.Minute, "systemctl is-active sm-fetch && journalctl -b -u sm-fetch | grep 'http://127.0.0.1:5984/services.*connection refused'")
	if failed := output(t, g, "systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("failed: %s", failed)
	}
}

// Whenever the power fails, the machine comes back with the old revision or the new one,
// and continues to the new one.
func TestPowerCuts(t *testing.T) {
	long(t)
	const cuts, rollout = 10, 10 * time.Second
	t.Logf("-seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	// One cut in each tenth of a rollout, in any order.
	tenths := random.Perm(cuts)
	g := start(t, installed(t, bookworm), vm.Options{PowerSafe: true})
	first(t, g, app("r0"), "r0")
	serves := "r0"
	for i, tenth := range tenths {
		moment := (time.Duration(tenth)*rollout + time.Duration(random.Int64N(int64(rollout)))) / cuts
		next := fmt.Sprintf("r%d", i+1)
		edit(t, g, "web", app(next))
		time.Sleep(moment)
		if err := g.PowerCut(); err != nil {
			t.Fatal(err)
		}
		if err := g.Boot(ctx(t, 3*time.Minute)); err != nil {
			t.Fatal(err)
		}
		booted := time.Now()
		// The revision that was good may serve first, and the other one afterwards.
		waitFor(t, g, 3*time.Minute, answering("\\("+serves+"\\|"+next+"\\)"))
		answered := time.Since(booted)
		waitFor(t, g, 3*time.Minute, tidy+`test "$(readlink current)" = "$(readlink good)"
test "$(systemctl show -P ActiveState sm-sweep.service)" = inactive
systemctl is-active sm-fetch.service
test -z "$(systemctl --failed --no-legend)"
`+answering("\\("+serves+"\\|"+next+"\\)"))
		tidied := time.Since(booted)
		was := output(t, g, "curl -fsS -m 5 http://"+address+"/")
		// An edit that never reached the disk is lost like any other file.
		if serves = strings.TrimPrefix(was, "revision "); serves != next && strings.Contains(output(t, g, "cat /etc/service-manager/services/web.json"), `"`+next+`"`) {
			t.Errorf("the definition on disk is %s, and %s serves", next, serves)
		}
		t.Logf("cut %2d: %5.2fs after the edit to %-3s; answered %.1fs after the boot, tidy with %s after %.1fs",
			i+1, moment.Seconds(), next, answered.Seconds(), serves, tidied.Seconds())
	}
}
