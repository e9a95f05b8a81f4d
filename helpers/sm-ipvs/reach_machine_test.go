//go:build machine

package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/ipvs/reach"

	"github.com/vishvananda/netlink"
)

// nft runs nft on the host of the bench.
func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// conntrackIs compares net.ipv4.vs.conntrack.
func conntrackIs(t *testing.T, want string) {
	t.Helper()
	value, err := os.ReadFile("/proc/sys/net/ipv4/vs/conntrack")
	if err != nil || strings.TrimSpace(string(value)) != want {
		t.Errorf("net.ipv4.vs.conntrack = %q, %v; want %s", value, err, want)
	}
}

// tables are the nftables tables on the host of the bench, except an operator's.
func tables(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(strings.ReplaceAll(nft(t, "list", "tables"), "table inet operator\n", ""))
}

// The table comes with the first destination of its family, is put back after another
// program has removed it, and goes with the last one. What others have made stays.
func TestMachineTableComesAndGoes(t *testing.T) {
	b := newBench(t)
	nft(t, "add table inet operator")
	conntrackIs(t, "0")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	conntrackIs(t, "1")
	b.ok("add", "10.77.0.1:7002", "10.77.0.2:80")
	b.ok("add", "[fd77::1]:7001", "[fd77::2]:80")
	whole := func() {
		t.Helper()
		for _, want := range []string{"10.77.0.1 . tcp . 7001", "10.77.0.1 . tcp . 7002", "ct label set 86", "dup to ip daddr", "masquerade"} {
			if have := nft(t, "list table ip service-manager"); strings.Count(have, want) != 1 {
				t.Errorf("%q is not there once: %s", want, have)
			}
		}
		if have := nft(t, "list table ip6 service-manager"); !strings.Contains(have, "fd77::1 . tcp . 7001") || !strings.Contains(have, "dup to ip6 daddr") {
			t.Error(have)
		}
	}
	whole()
	for _, damage := range []string{"flush ruleset", "flush table ip service-manager", "delete table ip6 service-manager", "flush set ip service-manager addresses"} {
		nft(t, damage)
		_, four := b.run("check", "10.77.0.1:7001")
		_, six := b.run("check", "[fd77::1]:7001")
		if four == nil && six == nil {
			t.Errorf("after %s: check sees nothing", damage)
		}
		b.ok("restore")
		whole()
		b.ok("check", "10.77.0.1:7001")
		b.ok("check", "[fd77::1]:7001")
	}

	// What watches over the way sees each damage, and reads nothing as long as there is none.
	var way ipvs.Way
	at := []ipvs.Address{{AddrPort: netip.MustParseAddrPort("10.77.0.1:7001"), Protocol: ipvs.TCP}, {AddrPort: netip.MustParseAddrPort("[fd77::1]:7001"), Protocol: ipvs.TCP}}
	reachable := func(after string, want bool) {
		t.Helper()
		if open, err := way.Reachable(at...); err != nil || open != want {
			t.Errorf("after %s: open %t, %v; want %t", after, open, err, want)
		}
	}
	for _, damage := range []string{"flush ruleset", "flush table ip service-manager", "delete table ip6 service-manager", "flush set ip service-manager addresses"} {
		reachable("restore", true)
		before, err := reach.Generation()
		must(t, err)
		reachable("nothing", true)
		if now, err := reach.Generation(); err != nil || now != before {
			t.Errorf("to look has changed the generation from %d to %d, %v", before, now, err)
		}
		nft(t, damage)
		reachable(damage, false)
		reachable("nothing", false)
		b.ok("restore")
	}
	reachable("restore", true)
	nft(t, "add table inet another; delete table inet another")
	reachable("a change of another program", true)

	// While the table is missing, one address may come, and another one go.
	both := []ipvs.Address{{AddrPort: netip.MustParseAddrPort("10.77.0.1:7001"), Protocol: ipvs.TCP}, {AddrPort: netip.MustParseAddrPort("10.77.0.1:7002"), Protocol: ipvs.TCP}}
	nft(t, "flush ruleset")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	if open, err := ipvs.Reachable(both...); err != nil || open {
		t.Errorf("with one of two addresses: open %t, %v", open, err)
	}
	nft(t, "flush ruleset")
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")
	conntrackIs(t, "1")
	b.ok("restore")
	if open, err := ipvs.Reachable(both...); err != nil || !open {
		t.Errorf("with all addresses: open %t, %v", open, err)
	}
	nft(t, "add table inet operator")
	if have := nft(t, "list table ip service-manager"); strings.Contains(have, "7001") || !strings.Contains(have, "7002") {
		t.Error(have)
	}
	b.ok("remove", "10.77.0.1:7002", "10.77.0.2:80")
	if have := tables(t); have != "table ip6 service-manager" {
		t.Error(have)
	}
	conntrackIs(t, "1")
	b.ok("remove", "[fd77::1]:7001", "[fd77::2]:80")
	if have := tables(t); have != "" {
		t.Error(have)
	}
	conntrackIs(t, "0")
	if have := nft(t, "list tables"); have != "table inet operator\n" {
		t.Error(have)
	}
}

// An answer that is larger than the way to the client allows arrives, although the host
// forwards nothing: the backend learns the smaller size.
func TestMachineLargeAnswersThroughFirewall(t *testing.T) {
	b := newBench(t)
	client := b.farClient(time.Millisecond)
	narrow, err := netlink.LinkByName("clients")
	must(t, err)
	must(t, netlink.LinkSetMTU(narrow, 1300))
	nft(t, "add table inet operator")
	nft(t, "add chain inet operator forward { type filter hook forward priority 0; policy drop; }")
	const size = 1 << 20
	b.listen("10.77.0.2:80", func(conn net.Conn) {
		_, _ = conn.Write(make([]byte, size)) // the client counts
	})
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	b.in(client, func() {
		conn, err := net.DialTimeout("tcp", "10.77.0.1:7001", 20*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
			t.Errorf("got %d bytes of %d: %v", n, size, err)
		}
	})
}

// However many addresses there are, all of them are put back, and one more costs little.
func TestMachineRestoresMany(t *testing.T) {
	b := newBench(t)
	namespace, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	must(t, os.MkdirAll("/run/service-manager/ipvs", 0o755))
	many := 1500
	if !testing.Short() {
		many = 10_000
	}
	note := func(i int) string { return fmt.Sprintf("/run/service-manager/ipvs/10.77.0.1:%d_10.77.0.2:80", 10000+i) }
	for i := range many {
		must(t, os.WriteFile(note(i), []byte("\nrr 1 "+namespace+"\n"), 0o644))
	}
	t.Cleanup(func() {
		for i := range many {
			os.Remove(note(i))
		}
	})
	begin := time.Now()
	out := b.ok("restore")
	t.Logf("FIGURE restore of %d virtual services: %.1fs", many, time.Since(begin).Seconds())
	if said := strings.Count(out, "put 10.77.0.2:80 back at "); said != many {
		t.Errorf("put %d back", said)
	}
	if have := strings.Count(nft(t, "list set ip service-manager addresses"), " . tcp . "); have != many {
		t.Errorf("the table has %d addresses", have)
	}
	var took []string
	for _, args := range [][]string{
		{"add", "10.77.0.1:9000", "10.77.0.2:80"}, {"add", "10.77.0.1:9000", "10.77.0.3:80"}, {"list"}, {"check", "10.77.0.1:9000"},
		{"drain", "10.77.0.1:9000", "10.77.0.3:80"}, {"remove", "10.77.0.1:9000", "10.77.0.3:80"}, {"remove", "10.77.0.1:9000", "10.77.0.2:80"},
	} {
		begin := time.Now()
		b.ok(args...)
		took = append(took, fmt.Sprintf("%s %.3f", args[0], time.Since(begin).Seconds()))
	}
	t.Logf("FIGURE seconds beside %d virtual services: %s", many, strings.Join(took, ", "))
}
