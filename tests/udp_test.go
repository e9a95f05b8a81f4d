//go:build machine

package tests

import (
	"fmt"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// A rollout moves the flows of UDP, which never end: a client that waits for each answer
// gets it, whether it keeps its port or not.
func TestDatagrams(t *testing.T) {
	medium(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	both := func(revision string) definition {
		d := app(revision).With("endpoints", []map[string]any{
			{"address": address, "port": 80}, {"address": address, "port": 80, "protocol": "udp"},
		})
		delete(d, "address")
		delete(d, "port")
		return d
	}
	moved := func(revision string) {
		t.Helper()
		waitFor(t, g, 3*time.Minute, `set -e
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = 1
test "$(ipvsadm -Ln | grep -c Masq)" = 2
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`+answering(revision))
	}
	edit(t, g, "web", both("r0"))
	moved("r0")
	addClient(t, g, "client", "10.99.0")
	loads := map[string]*load{}
	for _, from := range []struct{ name, prefix string }{{"the host", ""}, {"outside", "ip netns exec client"}} {
		loads[from.name] = startLoad(t, g, from.prefix, "--answer-timeout", "5s", "--connections-per-second", "5", "--keep-alive", "8", "--keep-alive-pause", "50ms", "udp://"+address+"/")
	}
	rollouts := 10
	if !*longTests {
		rollouts = 2
	}
	for i := range rollouts {
		revision := fmt.Sprintf("r%d", i+1)
		edit(t, g, "web", both(revision))
		moved(revision)
	}
	for name, l := range loads {
		report := l.stop(t)
		noneSentLost(t, "datagrams from "+name, report)
		if report.Revisions[fmt.Sprintf("r%d", rollouts)] == nil {
			t.Errorf("from %s, no flow has moved", name)
		}
		t.Logf("FIGURE %d rollouts, datagrams from %s: %d sent, %d without an answer, slowest %.2fs", rollouts, name, report.Total.Sent, report.Total.Lost, report.Total.SlowestAnswer)
	}
}
