//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

// The service as a unit among others: what an operator sees and does.
func TestUnits(t *testing.T) {
	long(t) // tests/native has it for each run
	forReleases(t, func(t *testing.T, release string) {
		g := start(t, installed(t, release), vm.Options{})
		first(t, g, app("r0"), "r0")

		t.Run("verify", func(t *testing.T) {
			edit(t, g, "web", app("r1", "APP_START_DELAY=5s"))
			waitFor(t, g, time.Minute, "test $(ls /run/systemd/generator/web@*.service | wc -l) = 3")
			if out := output(t, g, "systemd-analyze --man=no verify /run/systemd/generator/web@*.service /etc/systemd/system/sm-*.service /etc/systemd/system/service-manager.target 2>&1"); out != "" {
				t.Errorf("systemd-analyze verify: %s", out)
			}
			settled(t, g, "r1")
		})
		t.Run("journal", func(t *testing.T) {
			unit := "web@" + revisionName(t, g, "good")
			waitFor(t, g, time.Minute, "journalctl --no-pager -u "+unit+" | grep 'app r1: listening'")
		})
		t.Run("slice", func(t *testing.T) {
			if out := output(t, g, "systemd-cgls --no-pager /system.slice/system-web.slice"); !strings.Contains(out, "/app") {
				t.Errorf("the container is not in the unit's slice:\n%s", out)
			}
		})
		t.Run("a restart of the manager interrupts nothing", func(t *testing.T) {
			before := output(t, g, "docker ps -q")
			l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "2", "http://"+address+"/")
			output(t, g, "systemctl restart web@manager")
			noneLost(t, "restart of the manager", l.stop(t))
			if after := output(t, g, "docker ps -q"); after != before {
				t.Errorf("container %s became %s", before, after)
			}
		})
		t.Run("a runner stopped by hand stays stopped", func(t *testing.T) {
			unit := "web@" + revisionName(t, g, "good")
			output(t, g, "systemctl stop "+unit+" && systemctl daemon-reload && systemctl daemon-reload")
			if state := output(t, g, "systemctl show -P ActiveState "+unit); state != "inactive" {
				t.Errorf("the runner is %s", state)
			}
			output(t, g, "systemctl start "+unit)
			settled(t, g, "r1")
		})
		t.Run("stop and start", func(t *testing.T) {
			took := output(t, g, "begin=$(date +%s%N); systemctl stop web@manager; echo $(( ($(date +%s%N) - begin) / 1000000 ))ms")
			t.Logf("stopped after %s", took)
			nothingLeft(t, g)
			edit(t, g, "web", app("r2"))
			waitFor(t, g, time.Minute, "readlink /etc/service-manager/revisions/web/current | grep ^3- && grep -q '^After=.*@3-' /run/systemd/generator/web@manager.service")
			if n := output(t, g, "systemctl list-jobs --no-legend | wc -l; docker ps -aq | wc -l"); n != "0\n0" {
				t.Errorf("a new revision started a service that was stopped: %s", n)
			}
			output(t, g, "systemctl start web@manager && curl -fsS -m 5 http://"+address+"/")
			settled(t, g, "r2")
		})
		t.Run("another's units of that name are let alone", func(t *testing.T) {
			// As a service called postgresql has them beside it on Debian.
			const other = "web@15-main.service"
			output(t, g, "systemd-run --quiet --unit "+other+" sleep infinity")
			edit(t, g, "web", app("r3"))
			settled(t, g, "r3")
			output(t, g, "systemctl stop web@manager && systemctl is-active "+other+" && systemctl start web@manager")
			edit(t, g, "web", app("r2"))
			settled(t, g, "r2")
			output(t, g, "systemctl stop "+other)
		})
		t.Run("a dependent unit starts when the service serves, and stops first", func(t *testing.T) {
			output(t, g, "systemctl stop web@manager")
			put(t, g, "dependent.service", "/etc/systemd/system/dependent.service")
			output(t, g, "systemctl daemon-reload && systemctl start dependent")
			if out := output(t, g, "cat /run/dependent-saw"); !strings.Contains(out, "revision r2") {
				t.Errorf("the dependent unit saw %q when it started", out)
			}
			output(t, g, "systemctl stop web@manager dependent && cat /run/dependent-saw")
			if out := output(t, g, "cat /run/dependent-saw"); !strings.Contains(out, "revision r2") || !strings.Contains(out, "stopping") {
				t.Errorf("the dependent unit saw %q when it stopped", out)
			}
			nothingLeft(t, g)
			output(t, g, "systemctl start web@manager")
			settled(t, g, "r2")
		})
		t.Run("a reload alone applies what is on disk", func(t *testing.T) {
			output(t, g, "systemctl stop sm-fetch")
			const rev = "9-0123456789abcdef0123456789abcdef"
			output(t, g, fmt.Sprintf(`cd /etc/service-manager/revisions/web
cat > %s.json <<'END'
%s
END
ln -sfn %s.json new && mv -T new current && systemctl daemon-reload`, rev, app("r9").JSON(t), rev))
			answers(t, g, "r9")
			waitFor(t, g, time.Minute, "docker ps --format '{{.Names}}' | grep -x web."+rev+" && test $(docker ps -q | wc -l) = 1")
			output(t, g, "systemctl start sm-fetch")
		})
		t.Run("a deleted service is gone", func(t *testing.T) {
			output(t, g, "rm /etc/service-manager/services/web.json")
			waitFor(t, g, 2*time.Minute, "! test -e /etc/service-manager/revisions/web && ! test -e /run/systemd/generator/web@manager.service")
			nothingLeft(t, g)
			first(t, g, app("again"), "again")
		})
	})
}

// nothingLeft checks that no trace of a running service is left.
func nothingLeft(t testing.TB, g *vm.Guest) {
	t.Helper()
	if out := output(t, g, `docker ps -a --format '{{.Names}} {{.Status}}'; ipvsadm -Ln | tail -n +4; find /run/service-manager -name '*.env' -o -path '*/ipvs/*'
systemctl list-units --no-legend --state=active,activating,deactivating 'web@*'`); out != "" {
		t.Errorf("left over: %s", out)
	}
}

// Whatever a definition contains arrives in the container as it is, and nowhere
// else.
func TestHostileDefinition(t *testing.T) {
	long(t) // tests/native has it for each run
	g := start(t, installed(t, bookworm), vm.Options{})
	d, values := harness.Hostile()
	first(t, g, d, "r0")
	harness.CheckHostile(t, values, func(script string) string { return output(t, g, script) })
}
