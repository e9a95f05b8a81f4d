//go:build machine

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Clients that come between two destinations wait, and connect once the second is there,
// wherever they are.
func TestMachineHolds(t *testing.T) {
	for _, n := range []struct{ name, address, first, second string }{
		{"IPv4", "10.77.0.1:7001", "10.77.0.2:80", "10.77.0.3:80"},
		{"IPv6", "[fd77::1]:7001", "[fd77::2]:80", "[fd77::3]:80"},
	} {
		t.Run(n.name, func(t *testing.T) {
			b := newBench(t)
			b.serve(n.first, n.second)
			b.ok("add", n.address, n.first)
			open, err := b.dial(n.address)
			must(t, err)
			b.ask(open)
			held := b.hold(t.Context(), n.address)
			if got := b.ask(open); got != n.first {
				t.Errorf("an open connection is with %s", got)
			}
			// The only one on this host: along with the last virtual service the kernel
			// removes chains of nftables.
			b.ok("remove", n.address, n.first)

			clients := map[string]int{"host": b.host}
			far := n.name == "IPv4" // a far client has no other
			if far {
				clients["outside, 20 ms away"] = b.farClient(20 * time.Millisecond)
			}
			type answer struct {
				client, from string
				again        time.Duration // it waits before it sends again
				at           time.Time
			}
			answers := make(chan answer)
			for name, namespace := range clients {
				go b.in(namespace, func() {
					from, again := b.askAndSend(n.address)
					answers <- answer{name, from, again, time.Now()}
				})
			}
			b.awaitHeld(len(clients))
			if far {
				// By then it has sent its first packet twice more, and one is enough.
				b.awaitSeen(len(clients) + 2)
				b.awaitHeld(len(clients))
			}
			begin := time.Now()
			b.ok("add", n.address, n.second)
			for range clients {
				a := <-answers
				if a.from != n.second {
					t.Errorf("%s: %s", a.client, a.from)
				}
				t.Logf("FIGURE held %s: answered %.3fs after add began; would send again after %.1fs", a.client, a.at.Sub(begin).Seconds(), a.again.Seconds())
				if a.client != "host" && a.again > 3500*time.Millisecond {
					t.Errorf("%s takes the time that it waited for its distance: what gets lost is sent again after %s", a.client, a.again)
				}
			}
			b.ended(held, " waited, for at most ")
			if got := b.who(n.address); got != n.second {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
}

// hold starts a hold of addresses and returns when clients wait.
func (b *bench) hold(ctx context.Context, args ...string) *holding {
	b.t.Helper()
	h := &holding{}
	h.ends = b.start(ctx, h.world(nil, append([]string{"hold"}, args...)...))
	h.await(b.t, h.ends, "READY=1")
	return h
}

type holding struct {
	log
	ends <-chan error
}

// ended waits for the end of a hold, which must leave nothing behind.
func (b *bench) ended(h *holding, says string) {
	b.t.Helper()
	if err := <-h.ends; err != nil || !strings.Contains(h.out.String(), says) {
		b.t.Errorf("%v, %s; want %q", err, h.out.String(), says)
	}
	if left, err := os.ReadDir("/run/service-manager/holds"); err != nil || len(left) > 0 {
		b.t.Errorf("left: %v, %v", left, err)
	}
	if left := nft(b.t, "list tables"); strings.Contains(left, "hold") {
		b.t.Errorf("left: %s", left)
	}
}

// askAndSend returns which backend a client reaches, and how long its kernel would wait
// before it resends what gets lost.
func (b *bench) askAndSend(address string) (from string, again time.Duration) {
	conn, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return err.Error(), 0
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err.Error(), 0
	}
	var info *unix.TCPInfo
	_ = raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil {
		return err.Error(), 0
	}
	return b.ask(conn), time.Duration(info.Rto) * time.Microsecond
}

// awaitHeld waits until that many packets are held, and awaitSeen, until that many have
// come.
func (b *bench) awaitHeld(want int) { b.awaitQueue(2, want) }
func (b *bench) awaitSeen(want int) { b.awaitQueue(7, want) }

// awaitQueue waits until a column of the kernel's list of queues has a value.
func (b *bench) awaitQueue(column, want int) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		list, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		must(b.t, err)
		n := 0
		if fields := strings.Fields(string(list)); len(fields) > column {
			n, err = strconv.Atoi(fields[column])
			must(b.t, err)
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%d packets, not %d: %s", n, want, list)
		}
	}
}

// When nothing comes, clients are refused in the end, and nothing is left of the service.
func TestMachineHoldEnds(t *testing.T) {
	ends := func(name string, args []string, says string, end func(cancel context.CancelFunc)) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.ok("add", "--assign", "192.0.2.7:80", "10.77.0.2:80")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			held := b.hold(ctx, append(args, "192.0.2.7:80")...)
			b.ok("remove", "192.0.2.7:80", "10.77.0.2:80")
			if got := assigned(t); got != "192.0.2.7/32" {
				t.Errorf("the address went while it was held: %s", got)
			}
			refused := make(chan string)
			go b.in(b.host, func() { refused <- askOnce("192.0.2.7:80") })
			b.awaitHeld(1)
			end(cancel)
			if got := <-refused; !strings.Contains(got, "refused") {
				t.Error(got)
			}
			b.ended(held, says)
			if got := assigned(t); got != "no interface" {
				t.Errorf("the address is left: %s", got)
			}
			b.expect("192.0.2.7:80", nil)
		})
	}
	ends("time is up", []string{"--timeout", "1500ms"}, "the time is up without a destination at 192.0.2.7:80", func(context.CancelFunc) {})
	ends("stopped", nil, " waited, for at most ", func(cancel context.CancelFunc) { cancel() })
}

// Each of several addresses has to have a destination. One of weight 0 is none.
func TestMachineHoldsSeveral(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	held := b.hold(t.Context(), "10.77.0.1:7001", "10.77.0.1:7002", "[fd77::1]:7001", "10.77.0.1:7001/udp")
	if _, err := b.run("hold", "10.77.0.1:7002"); err == nil || !strings.Contains(err.Error(), "hold 10.77.0.1:7002: another process holds it") {
		t.Error(err)
	}
	b.ok("add", "--weight", "0", "10.77.0.1:7001", "10.77.0.2:80")
	b.ok("add", "10.77.0.1:7002", "10.77.0.2:80")
	b.ok("add", "[fd77::1]:7001", "[fd77::2]:80")

	answers := make(chan string)
	go b.in(b.host, func() { answers <- askOnce("10.77.0.1:7001") })
	b.awaitHeld(1)
	server := b.datagrams("10.77.0.2:80")
	go b.in(b.host, func() {
		conn, err := net.Dial("udp", "10.77.0.1:7001")
		must(t, err)
		defer conn.Close()
		fmt.Fprint(conn, "first")
	})
	b.awaitHeld(2)
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	b.ok("add", "10.77.0.1:7001/udp", "10.77.0.2:80")
	if got := <-answers; got != "10.77.0.2:80" {
		t.Error(got)
	}
	if got := <-server; got != "first" {
		t.Errorf("a datagram arrived as %q", got)
	}
	b.ended(held, "2 packets waited")
}

// datagrams returns what a backend receives.
func (b *bench) datagrams(address string) <-chan string {
	received := make(chan string, 1)
	b.in(b.backends, func() {
		conn, err := net.ListenPacket("udp", address)
		must(b.t, err)
		b.t.Cleanup(func() { conn.Close() })
		go func() {
			buffer := make([]byte, 100)
			n, _, _ := conn.ReadFrom(buffer)
			received <- string(buffer[:n])
		}()
	})
	return received
}

// The kernel drops what waits when another program removes a chain of nftables. The
// clients send again, and wait again.
func TestMachineHoldAndOtherChains(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	nft(t, "add table ip other; add chain ip other input { type filter hook input priority 0; }")
	held := b.hold(t.Context(), "10.77.0.1:7001")
	answers := make(chan string)
	go b.in(b.host, func() { answers <- askOnce("10.77.0.1:7001") })
	b.awaitHeld(1)
	nft(t, "delete table ip other")
	b.awaitHeld(0)
	b.awaitHeld(1)
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	if got := <-answers; got != "10.77.0.2:80" {
		t.Error(got)
	}
	b.ended(held, "packet")
}
