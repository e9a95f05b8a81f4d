//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// Several replicas share the clients of a service. A rollout, a change of their number and a
// renewal lose no request, and a change of the number alone replaces no container.
func TestReplicas(t *testing.T) {
	medium(t)
	rollouts := 5
	if !*longTests {
		rollouts = 1
	}
	g := start(t, installed(t, bookworm), vm.Options{})
	of := func(revision string, replicas int) definition {
		return app(revision).With("replicas", replicas).With("rollout", map[string]any{"parallel": 2})
	}
	// served waits until so many containers of a revision serve, and no other is there.
	served := func(revision string, replicas int) {
		t.Helper()
		waitFor(t, g, 5*time.Minute, fmt.Sprintf(`
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = %d
test "$(ipvsadm -Ln -t %s | awk '/Masq/ && $4 == 1' | wc -l)" = %[1]d
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
grep -q '"%[3]s"' /etc/service-manager/revisions/web/good
curl -fsS -m 5 http://%[2]s/ | grep -x 'revision %[3]s'`, replicas, address, revision))
	}
	containers := func() []string {
		return strings.Fields(output(t, g, "docker ps -q --no-trunc --filter label=service-manager.unit"))
	}
	// common returns how many containers are in both lists.
	common := func(a, b []string) (n int) {
		for _, one := range a {
			if strings.Contains(strings.Join(b, " "), one) {
				n++
			}
		}
		return n
	}

	edit(t, g, "web", of("r0", 3))
	served("r0", 3)
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "6", "http://"+address+"/")
	for i := 1; i <= rollouts; i++ {
		revision := fmt.Sprintf("r%d", i)
		edit(t, g, "web", of(revision, 3))
		served(revision, 3)
	}
	revision := fmt.Sprintf("r%d", rollouts)
	for before, replicas := containers(), 4; replicas >= 1; replicas -= 3 {
		edit(t, g, "web", of(revision, replicas))
		served(revision, replicas)
		now := containers()
		if same := common(before, now); same != min(len(before), replicas) {
			t.Errorf("with %d replicas, %d of the containers of before are there, which were %d", replicas, same, len(before))
		}
		before = now
	}
	edit(t, g, "web", of(revision, 2))
	served(revision, 2)
	before := containers()
	output(t, g, "systemctl reload web@manager")
	served(revision, 2)
	if same := common(before, containers()); same != 0 {
		t.Errorf("%d containers were not renewed", same)
	}
	report := l.stop(t)
	noneLost(t, "from the host", report)
	checkOthers()
	t.Logf("FIGURE %d rollouts of 3 replicas, 3 to 4 to 1 to 2, and a renewal: %d sent, %d lost, slowest connect %.2fs",
		rollouts, report.Total.Sent, report.Total.Lost, report.Total.SlowestConnect)
}
