//go:build machine

package tests

import (
	"testing"

	"service-manager/tests/vm"
)

// A reload of the manager replaces the only container of a service, and no client notices.
func TestRenew(t *testing.T) {
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "--slow", "1", "--slow-for", "2s", "http://"+address+"/")
	renewals := 10
	if testing.Short() {
		renewals = 2
	}
	const container = "docker ps -q --no-trunc --filter label=service-manager.unit"
	for range renewals {
		before := output(t, g, container)
		output(t, g, "systemctl reload web@manager")
		if now := output(t, g, container); now == before || len(now) != len(before) {
			t.Errorf("container %s became %s", before, now)
		}
	}
	report := l.stop(t)
	noneLost(t, "from the host", report)
	checkOthers()
	t.Logf("FIGURE renewed %d times: %d sent from the host, %d lost, slowest connect %.2fs", renewals, report.Total.Sent, report.Total.Lost, report.Total.SlowestConnect)
}
