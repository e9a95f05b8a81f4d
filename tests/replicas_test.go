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
	rollouts, replicas, sizes, perSecond := 5, 3, []int{4, 1, 2}, "20"
	if !*longTests {
		rollouts, replicas, sizes, perSecond = 1, 2, []int{3, 1}, "10"
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

	edit(t, g, "web", of("r0", replicas))
	served("r0", replicas)
	checkOthers := func() {}
	if *longTests {
		checkOthers = otherClients(t, g)
	}
	l := startLoad(t, g, "", "--connections-per-second", perSecond, "--keep-alive", "6", "http://"+address+"/")
	for i := 1; i <= rollouts; i++ {
		revision := fmt.Sprintf("r%d", i)
		edit(t, g, "web", of(revision, replicas))
		served(revision, replicas)
	}
	revision := fmt.Sprintf("r%d", rollouts)
	before := containers()
	for _, size := range sizes {
		edit(t, g, "web", of(revision, size))
		served(revision, size)
		now := containers()
		if same := common(before, now); same != min(len(before), size) {
			t.Errorf("with %d replicas, %d of the containers of before are there, which were %d", size, same, len(before))
		}
		before = now
	}
	output(t, g, "systemctl reload web@manager")
	served(revision, len(before))
	if same := common(before, containers()); same != 0 {
		t.Errorf("%d containers were not renewed", same)
	}
	report := l.stop(t)
	noneLost(t, "from the host", report)
	checkOthers()
	t.Logf("FIGURE %d rollouts of %d replicas, then %v of them, and a renewal: %d sent, %d lost, slowest connect %.2fs",
		rollouts, replicas, sizes, report.Total.Sent, report.Total.Lost, report.Total.SlowestConnect)
}
