//go:build machine

package tests

import (
	"testing"
	"time"

	"service-manager/tests/vm"
)

// systemd re-executes itself when it is updated, and drops every client that waits for it
// then. Clients of the service must not notice, whatever happens at that time.
func TestSystemdExecutedAnew(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	l := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "2", "http://"+address+"/")
	t.Run("while it serves", func(t *testing.T) {
		const before = "docker ps -q; systemctl show -P InvocationID sm-fetch 'web@*' | sort"
		was := output(t, g, before)
		output(t, g, "systemctl daemon-reexec")
		settled(t, g, "r0")
		if now := output(t, g, before); now != was {
			t.Errorf("units or containers are others:\n%s\nbefore:\n%s", now, was)
		}
	})
	t.Run("again and again in a rollout", func(t *testing.T) {
		edit(t, g, "web", app("r1", "APP_START_DELAY=3s"))
		// Before that, runc asks systemd for a scope, once.
		waitFor(t, g, time.Minute, "docker ps --format '{{.Names}}' | grep -c ^web | grep -x 2")
		output(t, g, "systemctl daemon-reexec; until "+answering("r1")+"; do systemctl daemon-reexec; sleep 0.1; done; systemctl daemon-reexec; systemctl daemon-reexec")
		settled(t, g, "r1")
	})
	noneLost(t, "while systemd re-executed itself", l.stop(t))
	t.Run("while the service drains", func(t *testing.T) {
		edit(t, g, "web", app("r2").With("drain_timeout", "20s"))
		settled(t, g, "r2")
		slow := sendLoad(t, g, "", "--connections-per-second", "0", "--keep-alive", "0", "--slow", "2", "--slow-for", "8s", "--for", "900ms", "http://"+address+"/")
		waitFor(t, g, time.Minute, bothUnderWay)
		output(t, g, "systemctl stop --no-block web@manager")
		waitFor(t, g, time.Minute, "pgrep -fx '/usr/local/bin/sm-rollout stop web' && pgrep -f '^/usr/local/bin/sm-ipvs drain'")
		waitFor(t, g, time.Minute, "systemctl show -P StatusText web@manager | grep '^stopping web@'")
		output(t, g, "systemctl daemon-reexec")
		noneLost(t, "requests under way when it stopped", slow.wait(t))
		waitFor(t, g, time.Minute, "test $(systemctl list-jobs --no-legend | wc -l) = 0")
		nothingLeft(t, g)
		if result := output(t, g, "systemctl show -P Result web@manager"); result != "success" {
			t.Errorf("the manager stopped with %s", result)
		}
	})
}
