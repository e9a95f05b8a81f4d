//go:build native

package native

import (
	"fmt"
	"testing"
)

// "docker restart" restarts the container and not the unit: the same container
// serves at the same address, and the unit is what it was.
func TestDockerRestart(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		unit := "web@" + m.revision(t, "web", "good")
		const container = "docker ps -aq --no-trunc --filter label=service-manager.unit"
		before := m.output(t, container)
		is := func() string { return m.output(t, "systemctl show -P MainPID -P NRestarts -P InvocationID "+unit) }
		was := is()
		for n := range 2 {
			m.output(t, "docker restart "+before)
			m.waitFor(t, patience, fmt.Sprintf("test $(journalctl --no-pager -o cat -u %s | grep -c 'docker has restarted the container; it is taken over') = %d", unit, n+1))
			m.serves(t, "web", "r0")
			if now := m.output(t, container); now != before {
				t.Fatalf("the container is %s, was %s", now, before)
			}
			if now := is(); now != was {
				t.Fatalf("the unit's main process, restarts and start are\n%s, were\n%s", now, was)
			}
		}
		t.Run("docker stop", func(t *testing.T) {
			m.output(t, "docker stop "+before)
			m.waitFor(t, patience, "test \"$("+container+")\" != "+before+"\n"+serving("web", "r0"))
		})
		t.Run("the next edit", func(t *testing.T) {
			m.edit(t, "web", app("next"))
			m.settled(t, "web", "next")
		})
	})
}

// Without live-restore, Docker ends its containers with itself. That is not the fault of
// a revision that is starting.
func TestDockerRestartedInARollout(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		for n, again := range []string{
			"systemctl restart docker.service",
			"systemctl stop docker.socket docker.service; systemctl start docker.socket docker.service",
			"systemctl kill --kill-whom=main -s KILL docker.service",
		} {
			scene(t, again, func(t *testing.T) {
				next := fmt.Sprintf("r%d", n+1)
				m.edit(t, "web", app(next, "APP_START_DELAY=10s"))
				m.waitFor(t, patience, "test $(docker ps -q --filter label=service-manager.unit | wc -l) = 2")
				m.output(t, "systemctl reset-failed docker.service; "+again)
				m.settled(t, "web", next)
			})
		}
	})
}

// systemd re-executes itself when it is updated, and drops every client that waits for it
// then. No rollout ends because of that.
func TestSystemdExecutesItself(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		const before = "docker ps -q; systemctl show -P InvocationID sm-fetch sm-watch 'web@*' | sort"
		was := m.output(t, before)
		m.output(t, "systemctl daemon-reexec")
		m.settled(t, "web", "r0")
		if now := m.output(t, before); now != was {
			t.Errorf("units or containers are others:\n%s\nbefore:\n%s", now, was)
		}
		m.edit(t, "web", app("r1", "APP_START_DELAY=3s"))
		// Before that, runc asks systemd for a scope, once.
		m.waitFor(t, patience, "docker ps --format '{{.Names}}' | grep -c ^web | grep -x 2")
		m.output(t, "until test $(readlink /etc/service-manager/revisions/web/good) = $(readlink /etc/service-manager/revisions/web/current); do systemctl daemon-reexec; sleep 0.1; done; systemctl daemon-reexec")
		m.settled(t, "web", "r1")
	})
}
