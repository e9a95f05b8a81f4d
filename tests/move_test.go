//go:build machine

package tests

import (
	"fmt"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// A service moves to another address: it has both for as long as its clients need, and
// nothing is lost at either.
func TestMove(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	const before, after = address, "172.17.0.1:7009"
	at := func(revision string, addresses ...string) definition {
		var endpoints []map[string]any
		for _, a := range addresses {
			endpoints = append(endpoints, map[string]any{"address": a, "port": 80})
		}
		d := app(revision).With("endpoints", endpoints)
		delete(d, "address")
		delete(d, "port")
		return d
	}
	// moved waits until a revision serves alone, at those addresses.
	moved := func(revision string, addresses ...string) {
		t.Helper()
		script := fmt.Sprintf(`set -e
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = 1
test "$(ipvsadm -Ln | grep -c Masq)" = %d
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`, len(addresses))
		for _, a := range addresses {
			script += fmt.Sprintf("curl -fsS -m 5 http://%s/ | grep -x 'revision %s'\n", a, revision)
		}
		waitFor(t, g, 3*time.Minute, script)
	}
	load := func(address string) *load {
		return startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "--slow", "1", "--slow-for", "2s", "http://"+address+"/")
	}
	edit(t, g, "web", at("r0", before))
	moved("r0", before)
	old := load(before)
	edit(t, g, "web", at("r1", before, after))
	moved("r1", before, after)
	// Its clients move.
	young := load(after)
	report := old.stop(t)
	noneLost(t, "at the old address", report)
	t.Logf("FIGURE at the old address: %d sent, %d lost", report.Total.Sent, report.Total.Lost)
	edit(t, g, "web", at("r2", after))
	moved("r2", after)
	// And with another revision, at the new address alone.
	edit(t, g, "web", at("r3", after))
	moved("r3", after)
	report = young.stop(t)
	noneLost(t, "at the new address", report)
	t.Logf("FIGURE at the new address: %d sent, %d lost", report.Total.Sent, report.Total.Lost)
	for revision := range 4 {
		if name := fmt.Sprintf("r%d", revision); revision > 0 && report.Revisions[name] == nil {
			t.Errorf("no answer of %s at the new address", name)
		}
	}

	// Without that step, what is under way at the old address ends, and the next client is
	// refused at once rather than left to wait.
	slow := sendLoad(t, g, "", "--connections-per-second", "0", "--keep-alive", "0", "--slow", "0.5", "--slow-for", "8s", "http://"+after+"/")
	waitFor(t, g, time.Minute, "ipvsadm -Ln | awk '/Masq/ {n += $5} END {exit n == 0}'")
	slow.command.Signal(ctx(t, time.Minute), "TERM")
	edit(t, g, "web", at("r4", before))
	waitFor(t, g, time.Minute, "curl -fsS -m 5 http://"+before+"/ | grep -x 'revision r4'")
	waitFor(t, g, time.Minute, "ipvsadm -Ln | grep -E ' 0 +[1-9]'")
	if out := output(t, g, "curl -sS -m 5 http://"+after+"/ 2>&1 || true"); out == "" {
		t.Error("a new client at the old address is not refused")
	} else {
		t.Logf("a new client at the old address: %s", out)
	}
	report = slow.wait(t)
	if report.Total.Lost > 0 || report.Slow.Sent == 0 {
		t.Errorf("requests under way at the old address: %d sent, %d lost", report.Slow.Sent, report.Total.Lost)
	}
	moved("r4", before)
}
