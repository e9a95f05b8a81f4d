//go:build machine

package main

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"service-manager/helpers/internal/ipvs"
)

// assigned returns the addresses that were added to the host of the bench.
func assigned(t *testing.T) string {
	t.Helper()
	link, err := netlink.LinkByName(ipvs.Link)
	if err != nil {
		return "no interface"
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	must(t, err)
	var list []string
	for _, a := range addresses {
		if !a.IP.IsLinkLocalUnicast() {
			list = append(list, a.IPNet.String())
		}
	}
	return strings.Join(list, " ")
}

// An address that the host lacks comes with the first destination at it, is put back
// after it was removed by hand, and goes with the last destination.
func TestMachineAssigns(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80", "[fd77::2]:80")
	b.in(b.backends, func() { // as a container has them
		must(t, netlink.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP("10.77.0.1")}))
		must(t, netlink.RouteAdd(&netlink.Route{Dst: network("::/0"), Gw: net.ParseIP("fd77::1")}))
	})
	is := func(want string) {
		t.Helper()
		if got := assigned(t); got != want {
			t.Errorf("assigned: %s; want %s", got, want)
		}
	}
	if out, err := b.run("add", "192.0.2.7:80", "10.77.0.2:80"); err == nil || !strings.Contains(err.Error(), "192.0.2.7 is not an address of this host") {
		t.Errorf("without --assign: %v, %s", err, out)
	}
	if _, err := b.run("add", "--assign", "127.0.0.9:80", "10.77.0.2:80"); err == nil {
		t.Error("a loopback address was taken")
	}
	b.ok("add", "--assign", "10.77.0.1:7001", "10.77.0.2:80") // the host has it
	is("no interface")
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")

	b.ok("add", "--assign", "192.0.2.7:80", "10.77.0.2:80")
	b.ok("add", "--assign", "192.0.2.7:443", "10.77.0.2:80")
	b.ok("add", "--assign", "[2001:db8::7]:80", "[fd77::2]:80")
	is("192.0.2.7/32 2001:db8::7/128")
	if got := b.who("192.0.2.7:443"); got != "10.77.0.2:80" {
		t.Error(got)
	}
	if got := b.who("[2001:db8::7]:80"); got != "[fd77::2]:80" {
		t.Error(got)
	}
	link, err := netlink.LinkByName(ipvs.Link)
	must(t, err)
	must(t, netlink.LinkDel(link))
	b.ok("restore")
	is("192.0.2.7/32 2001:db8::7/128")

	b.ok("remove", "192.0.2.7:80", "10.77.0.2:80")
	is("192.0.2.7/32 2001:db8::7/128")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := b.hold(ctx, "192.0.2.7:5432")
	b.ok("remove", "192.0.2.7:443", "10.77.0.2:80")
	is("192.0.2.7/32 2001:db8::7/128") // clients of another port wait
	cancel()
	b.ended(held, "")
	is("2001:db8::7/128")
	b.ok("remove", "[2001:db8::7]:80", "[fd77::2]:80")
	is("no interface")
	if _, err := netlink.LinkByName("backends"); err != nil {
		t.Error(err)
	}
}
