//go:build machine

package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"service-manager/helpers/internal/hint"
)

// What is in the way of clients elsewhere is named, whatever its family, and whether it
// is in the way of what they send or of what they get.
func TestMachineCheckFrom(t *testing.T) {
	b := newBench(t)
	for _, setting := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile("/proc/sys/net/"+setting, []byte("1"), 0))
	}
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}))
	up(t, "docker0", "10.79.0.1/24", "fd79::1/64")
	b.in(b.backends, func() {
		link, err := netlink.LinkByName("host")
		must(t, err)
		for _, gateway := range []string{"10.77.0.1", "fd77::1"} {
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}))
		}
	})
	b.serve("10.77.0.2:80", "[fd77::2]:80")
	addresses := []string{"10.77.0.1:7001", "[fd77::1]:7001"}
	b.ok("add", addresses[0], "10.77.0.2:80")
	b.ok("add", addresses[1], "[fd77::2]:80")
	wheres := []string{"outside", "container"}
	// expect checks that each client, in both families, sees that; empty for success.
	expect := func(t *testing.T, want string, wheres ...string) {
		t.Helper()
		for _, address := range addresses {
			for _, where := range wheres {
				_, err := b.run("check", "--from", where, address)
				said, way := "", ""
				if err != nil {
					said = err.Error()
					_, way = hint.Split(err)
				}
				if (want == "") != (said == "") || !strings.Contains(said, want) {
					t.Errorf("%s from %s: %q; want %q", address, where, said, want)
				}
				if want != "" && !strings.HasPrefix(way, "run ") {
					t.Errorf("%s from %s: the way out is %q", address, where, way)
				}
			}
		}
		links, err := netlink.LinkList()
		must(t, err)
		for _, link := range links {
			if strings.HasPrefix(link.Attrs().Name, "sm-check") {
				t.Errorf("%s is left", link.Attrs().Name)
			}
		}
		if left := nft(t, "list", "tables"); strings.Contains(left, "service-manager-check") {
			t.Errorf("left of nftables: %s", left)
		}
	}
	// chain is a chain of an operator's, with a policy, and a rule if one is given.
	chain := func(t *testing.T, hook, policy, rule string) {
		t.Helper()
		nft(t, "add table inet operator; flush table inet operator; delete table inet operator; add table inet operator")
		nft(t, "add chain inet operator things { type filter hook "+hook+" priority 0; policy "+policy+"; }")
		if rule != "" {
			nft(t, "add rule inet operator things "+rule)
		}
	}

	// Not t.Run: only this goroutine is on the host of the bench.
	scene := func(name string, f func(t *testing.T)) {
		t.Helper()
		t.Logf("%s", name)
		f(t)
	}
	scene("nothing", func(t *testing.T) { expect(t, "", append(wheres, "container:docker0")...) })
	scene("forwarded is dropped", func(t *testing.T) {
		chain(t, "forward", "drop", "")
		expect(t, "", wheres...)
	})
	scene("a policy", func(t *testing.T) {
		chain(t, "input", "drop", "iifname backends accept")
		// Of IPv6, what asks who has the address is dropped as well.
		expect(t, ": the policy of chain inet operator things is in its way", wheres...)
	})
	scene("a rule that drops", func(t *testing.T) {
		chain(t, "input", "accept", `iifname "docker0" tcp dport 7001 counter drop`)
		expect(t, "", "outside")
		expect(t, `a container on docker0 gets no answer: the rule "iifname \"docker0\" tcp dport 7001 drop" of chain inet operator things is in its way`, "container")
	})
	scene("a rule that rejects", func(t *testing.T) {
		chain(t, "input", "accept", "tcp dport 7001 reject with tcp reset")
		expect(t, `is refused: the rule "tcp dport 7001 reject with tcp reset" of chain inet operator things is in its way`, wheres...)
	})
	scene("a rule about answers", func(t *testing.T) {
		chain(t, "output", "accept", "tcp sport 7001 drop")
		expect(t, `gets no answer: the rule "tcp sport 7001 drop" of chain inet operator things is in its way`, "container")
	})
	scene("before the host looks where it goes", func(t *testing.T) {
		chain(t, "prerouting", "accept", "tcp dport 7001 drop")
		expect(t, `the rule "tcp dport 7001 drop" of chain inet operator things is in its way`, "outside")
	})
	nft(t, "delete table inet operator")
	scene("nothing listens", func(t *testing.T) {
		b.ok("add", "10.77.0.1:7002", "10.77.0.3:81")
		_, err := b.run("check", "--from", "outside", "10.77.0.1:7002")
		if err == nil || !strings.HasPrefix(err.Error(), "10.77.0.1:7002: a client outside is refused, and no rule of nftables is in its way; ") {
			t.Error(err)
		}
	})
	scene("no such bridge", func(t *testing.T) {
		_, err := b.run("check", "--from", "container:br-none", addresses[0])
		if err == nil || !strings.HasPrefix(err.Error(), "check 10.77.0.1:7001 from container:br-none: br-none: there is no such bridge; ") {
			t.Error(err)
		}
	})
}
