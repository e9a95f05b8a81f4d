//go:build machine

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/mainprocess"
)

func destinations(pairs ...any) map[netip.AddrPort]int {
	m := map[netip.AddrPort]int{}
	for i := 0; i < len(pairs); i += 2 {
		m[netip.MustParseAddrPort(pairs[i].(string))] = pairs[i+1].(int)
	}
	return m
}

func (b *bench) expect(address string, want map[netip.AddrPort]int) {
	b.t.Helper()
	// netip.AddrPort is comparable, so cmp need not look into it.
	if diff := cmp.Diff(want, b.weights(address), cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y })); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", address, diff)
	}
}

func TestMachineServesAndRemoves(t *testing.T) {
	for _, n := range []struct{ name, address, first, second string }{
		{"IPv4", "10.77.0.1:7001", "10.77.0.2:80", "10.77.0.3:80"},
		{"IPv6", "[fd77::1]:7001", "[fd77::2]:80", "[fd77::3]:80"},
	} {
		t.Run(n.name, func(t *testing.T) {
			b := newBench(t)
			b.serve(n.first, n.second)
			if out := b.ok("list") + b.ok("list", "--json"); out != "[]\n" {
				t.Errorf("list without services: %q", out)
			}
			b.ok("add", n.address, n.first)
			if got := b.who(n.address); got != n.first {
				t.Errorf("answered by %s; want %s", got, n.first)
			}
			b.ok("add", n.address, n.second)
			b.ok("add", n.address, n.second)
			b.expect(n.address, destinations(n.first, 1, n.second, 1))
			seen := map[string]int{}
			for range 10 {
				seen[b.who(n.address)]++
			}
			if diff := cmp.Diff(map[string]int{n.first: 5, n.second: 5}, seen); diff != "" {
				t.Errorf("ten connections (-want +got):\n%s", diff)
			}
			b.ok("add", "--weight", "7", "--scheduler", "wrr", n.address, n.second)
			b.expect(n.address, destinations(n.first, 1, n.second, 7))
			if out := b.ok("list", n.address); !strings.Contains(out, n.address) || strings.Count(out, "wrr") != 2 {
				t.Errorf("list: %s", out)
			}
			b.ok("add", n.address, n.first)
			if out := b.ok("list", n.address); strings.Count(out, "wrr") != 2 {
				t.Errorf("add without --scheduler changed it: %s", out)
			}
			b.ok("check", n.address)
			for range 2 {
				b.ok("remove", n.address, n.first)
				b.expect(n.address, destinations(n.second, 7))
			}
			for range 2 {
				b.ok("remove", n.address, n.second)
				b.expect(n.address, nil)
			}
			if out := b.ok("list"); out != "" {
				t.Errorf("left behind: %s", out)
			}
		})
	}
}

func TestMachineSettings(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"expire_nodest_conn", "expire_quiescent_template"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/vs/"+name, []byte("0"), 0))
	}
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	for _, name := range []string{"expire_nodest_conn", "expire_quiescent_template", "conn_reuse_mode"} {
		value, err := os.ReadFile("/proc/sys/net/ipv4/vs/" + name)
		if err != nil || string(value) != "1\n" {
			t.Errorf("net.ipv4.vs.%s = %q, %v; want 1", name, value, err)
		}
	}
}

func TestMachineDrainWaits(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80", "10.77.0.3:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	conn, err := b.dial("10.77.0.1:7001")
	must(t, err)
	b.ask(conn)
	b.ok("add", "10.77.0.1:7001", "10.77.0.3:80")

	var l log
	drained := b.start(t.Context(), l.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
	l.await(t, drained, "STATUS=draining 10.77.0.2:80: 1 active connection, 600s left")
	if !strings.HasPrefix(l.statuses(), "EXTEND_TIMEOUT_USEC=610000000\n") {
		t.Errorf("asked for no time first: %s", l.statuses())
	}
	b.expect("10.77.0.1:7001", destinations("10.77.0.2:80", 0, "10.77.0.3:80", 1))
	for range 4 {
		if got := b.who("10.77.0.1:7001"); got != "10.77.0.3:80" {
			t.Errorf("a new connection reached %s", got)
		}
	}
	if got := b.ask(conn); got != "10.77.0.2:80" {
		t.Errorf("the open connection is with %s now", got)
	}
	select {
	case err := <-drained:
		t.Errorf("drain ended with a connection open: %v", err)
	default:
	}
	conn.Close()
	begin := time.Now()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("drain noticed the end of the last connection after %s", took)
	}
	if l.out.Len() > 0 || !strings.HasSuffix(l.statuses(), "STATUS=drained 10.77.0.2:80") {
		t.Errorf("said %q, %s", l.out.String(), l.statuses())
	}

	_, err = b.run("check", "10.77.0.1:7001")
	must(t, err)
	b.ok("drain", "10.77.0.1:7001", "10.77.0.3:80")
	_, err = b.run("check", "10.77.0.1:7001")
	if err == nil || !strings.HasPrefix(err.Error(), "10.77.0.1:7001: nothing serves here: all of its 2 destinations are draining; run systemctl status") {
		t.Errorf("check of a drained service: %v", err)
	}
	// What comes back gets connections again.
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	if got := b.who("10.77.0.1:7001"); got != "10.77.0.2:80" {
		t.Errorf("a new connection reached %s", got)
	}
}

// A scheduler that gives each client a fixed destination must choose another one when that
// gets no new connections.
func TestMachineFixedDestinations(t *testing.T) {
	for _, scheduler := range []string{"sh", "mh"} {
		t.Run(scheduler, func(t *testing.T) {
			b := newBench(t)
			b.serve("10.77.0.2:80", "10.77.0.3:80")
			const clients = 20
			var addresses []string
			for i := range clients {
				addresses = append(addresses, fmt.Sprintf("10.79.0.%d/32", 1+i))
			}
			up(t, "lo", addresses...)
			reached := func() map[string]int {
				by := map[string]int{}
				for i := range clients {
					from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 79, 0, byte(1+i))}, Timeout: 10 * time.Second}
					conn, err := from.DialContext(t.Context(), "tcp", "10.77.0.1:7001")
					if err != nil {
						by[err.Error()]++
						continue
					}
					by[b.ask(conn)]++
					conn.Close()
				}
				return by
			}
			b.in(b.backends, func() {
				must(t, netlink.RouteAdd(&netlink.Route{Dst: network("10.79.0.0/24"), Gw: net.ParseIP("10.77.0.1")}))
			})
			b.ok("add", "--scheduler", "rr", "10.77.0.1:7001", "10.77.0.2:80") // as a release without this left it
			b.ok("add", "--scheduler", scheduler, "10.77.0.1:7001", "10.77.0.2:80")
			b.ok("add", "--scheduler", scheduler, "10.77.0.1:7001", "10.77.0.3:80")
			if by := reached(); by["10.77.0.2:80"] == 0 || by["10.77.0.3:80"] == 0 || by["10.77.0.2:80"]+by["10.77.0.3:80"] != clients {
				t.Errorf("with both: %v", by)
			}
			b.ok("drain", "--timeout", "0s", "10.77.0.1:7001", "10.77.0.2:80")
			if diff := cmp.Diff(map[string]int{"10.77.0.3:80": clients}, reached()); diff != "" {
				t.Errorf("with one that drains (-want +got):\n%s", diff)
			}
		})
	}
}

// Something connects to the container directly, from a port that a client of the service
// had before: the kernel takes the earlier connection for open.
func TestMachineDrainPassesOverDirectConnections(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	reset := func(conn net.Conn) (port int) {
		must(t, conn.(*net.TCPConn).SetLinger(0))
		must(t, conn.Close())
		return conn.LocalAddr().(*net.TCPAddr).Port
	}
	conn, err := b.dial("10.77.0.1:7001")
	must(t, err)
	b.ask(conn)
	port := reset(conn)
	b.awaitState("CLOSE")
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 77, 0, 1), Port: port}, Timeout: time.Minute}
	direct, err := from.DialContext(t.Context(), "tcp", "10.77.0.2:80")
	must(t, err)
	b.awaitState("SYN_SENT")
	reset(direct)
	begin := time.Now()
	b.ok("drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80")
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("drain took %s", took)
	}
}

// A client that is far away believes that it is connected before the kernel does,
// and sends its request: its connection counts from its first packet on.
func TestMachineDrainAwaitsHandshake(t *testing.T) {
	b := newBench(t)
	client := b.farClient(time.Second)
	b.serve("10.77.0.2:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	answer := make(chan string, 1)
	go b.in(client, func() { answer <- askOnce("10.77.0.1:7001") })
	b.awaitState("SYN_RECV")
	var l log
	if err := <-b.start(t.Context(), l.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80")); err != nil {
		t.Error(err)
	}
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")
	if got := <-answer; got != "10.77.0.2:80" {
		t.Errorf("answered by %q", got)
	}
}

// The answer to a client's first packet gets lost. The container sends it again while the
// client sends its packet again, and the kernel gives the latter to another container if
// the weight is 0 by then: the two ends of the connection would each have another peer.
func TestMachineDrainAwaitsHandshakeInDoubt(t *testing.T) {
	b := newBench(t)
	client := b.farClient(time.Millisecond)
	b.serve("10.77.0.2:80", "10.77.0.3:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	loseAnswers := func(how string) {
		b.in(client, func() {
			out, err := exec.Command("iptables", how, "INPUT", "-p", "tcp", "--tcp-flags", "SYN,ACK", "SYN,ACK", "-j", "DROP").CombinedOutput()
			if err != nil {
				t.Errorf("iptables: %v: %s", err, out)
			}
		})
	}
	loseAnswers("-A")
	answer := make(chan string, 1)
	go b.in(client, func() { answer <- askOnce("10.77.0.1:7001") })
	b.awaitState("SYN_RECV")
	b.ok("add", "10.77.0.1:7001", "10.77.0.3:80")
	var l log
	drained := b.start(t.Context(), l.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
	l.await(t, drained, "STATUS=draining 10.77.0.2:80")
	// From now on the container's packets are faster than the client's.
	b.delay(client, 400*time.Millisecond)
	loseAnswers("-D")
	if got := <-answer; got != "10.77.0.2:80" {
		t.Errorf("answered by %q", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	b.expect("10.77.0.1:7001", destinations("10.77.0.2:80", 0, "10.77.0.3:80", 1))
}

// A client that has sent everything and says so still gets its answer.
func TestMachineDrainAwaitsHalfClosed(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { awaitsHalfClosed(t, "10.77.0.1:7001", "10.77.0.2:80") })
	t.Run("IPv6", func(t *testing.T) { awaitsHalfClosed(t, "[fd77::1]:7001", "[fd77::2]:80") })
}

func awaitsHalfClosed(t *testing.T, address, destination string) {
	b := newBench(t)
	release := make(chan bool)
	b.in(b.backends, func() {
		listener, err := net.Listen("tcp", destination)
		must(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			request, _ := io.ReadAll(conn)
			<-release
			conn.Write(request)
		}()
	})
	b.ok("add", address, destination)
	conn, err := b.dial(address)
	must(t, err)
	_, err = io.WriteString(conn, "everything")
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	b.awaitState("CLOSE_WAIT")
	var l log
	drained := b.start(t.Context(), l.world(nil, "drain", "--timeout", "10m", address, destination))
	l.await(t, drained, "STATUS=draining "+destination+": 1 active connection, 600s left")
	close(release)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	b.ok("remove", address, destination)
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if got, err := io.ReadAll(conn); string(got) != "everything" || err != nil {
		t.Errorf("answered %q, %v", got, err)
	}
}

// The end of an answer may get lost on the way to a client that is far away, and has to
// be sent again; but a connection that the client never closes does not delay a drain for
// long.
func TestMachineDrainAwaitsTheEndOfAnswers(t *testing.T) {
	b := newBench(t)
	b.listen("10.77.0.2:80", func(net.Conn) {}) // closes at once
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	for _, clientCloses := range []bool{true, false} {
		conn, err := b.dial("10.77.0.1:7001")
		must(t, err)
		b.awaitState("FIN_WAIT")
		var l log
		drained := b.start(t.Context(), l.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
		l.await(t, drained, "STATUS=draining 10.77.0.2:80: clients have yet to close 1")
		if clientCloses {
			conn.Close()
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	}
}

func TestMachineDrainEnds(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	for range 2 {
		conn, err := b.dial("10.77.0.1:7001")
		must(t, err)
		b.ask(conn)
	}

	out := b.ok("drain", "--timeout", "300ms", "10.77.0.1:7001", "10.77.0.2:80")
	if want := "drain 10.77.0.2:80: time is up after 300ms with 2 active connections left\n"; out != want {
		t.Errorf("said %q; want %q", out, want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var l log
	drained := b.start(ctx, l.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
	l.await(t, drained, "STATUS=draining")
	cancel()
	if err := <-drained; err == nil || err.Error() != "drain 10.77.0.2:80: stopped with 2 active connections left" {
		t.Errorf("after a signal: %v", err)
	}

	// Another program removes it: nothing is left to wait for.
	var again log
	drained = b.start(t.Context(), again.world(nil, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
	again.await(t, drained, "STATUS=draining")
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")
	if err := <-drained; err != nil {
		t.Errorf("drain of a destination that was removed: %v", err)
	}
	b.ok("drain", "10.77.0.1:7001", "10.77.0.2:80")
}

// A dead container answers no more: nothing is waited for.
func TestMachineDrainEndsWithMainProcess(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	conn, err := b.dial("10.77.0.1:7001")
	must(t, err)
	b.ask(conn)
	main := exec.Command("sleep", "infinity")
	must(t, main.Start())
	defer main.Process.Kill()
	var l log
	env := func(name string) (string, bool) {
		return strconv.Itoa(main.Process.Pid), name == "MAINPID"
	}
	drained := b.start(t.Context(), l.world(env, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
	l.await(t, drained, "STATUS=draining 10.77.0.2:80: 1 active connection")
	must(t, main.Process.Kill())
	_ = main.Wait() // it was killed
	if err := <-drained; err != nil {
		t.Error(err)
	}
	// Also one that ended before.
	if err := <-b.start(t.Context(), l.world(env, "drain", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80")); err != nil {
		t.Error(err)
	}
}

func TestMachineDrainsUDPByRemoving(t *testing.T) {
	b := newBench(t)
	b.ok("add", "10.77.0.1:53/udp", "10.77.0.2:53")
	b.ok("add", "10.77.0.1:53/udp", "10.77.0.3:53")
	b.ok("add", "10.77.0.1:53", "10.77.0.2:53")
	b.ok("drain", "10.77.0.1:53/udp", "10.77.0.2:53")
	b.expect("10.77.0.1:53/udp", destinations("10.77.0.3:53", 1))
	b.expect("10.77.0.1:53", destinations("10.77.0.2:53", 1))
	b.ok("drain", "10.77.0.1:53/udp", "10.77.0.3:53")
	b.ok("remove", "10.77.0.1:53/udp", "10.77.0.3:53")
	b.expect("10.77.0.1:53/udp", nil)
}

// A destination answers what it has received before it is removed, and what comes
// meanwhile goes to the next one.
func TestMachineDrainAwaitsAnswersToDatagrams(t *testing.T) {
	b := newBench(t)
	first, second := make(chan string, 1), make(chan string, 1)
	for address, got := range map[string]chan string{"10.77.0.2:53": first, "10.77.0.3:53": second} {
		b.in(b.backends, func() {
			socket, err := net.ListenPacket("udp", address)
			must(t, err)
			t.Cleanup(func() { socket.Close() })
			go func() {
				for question := make([]byte, 100); ; {
					n, from, err := socket.ReadFrom(question)
					if err != nil {
						return
					}
					got <- string(question[:n])
					time.Sleep(50 * time.Millisecond) // what an answer takes
					_, _ = socket.WriteTo([]byte(address), from)
				}
			}()
		})
	}
	b.ok("add", "10.77.0.1:53/udp", "10.77.0.2:53")
	client, err := net.Dial("udp", "10.77.0.1:53")
	must(t, err)
	defer client.Close()
	must(t, client.SetDeadline(time.Now().Add(time.Minute)))
	ask := func(question string) {
		_, err := client.Write([]byte(question))
		must(t, err)
	}
	answer := func(want string) {
		t.Helper()
		buffer := make([]byte, 100)
		n, err := client.Read(buffer)
		if string(buffer[:n]) != want {
			t.Errorf("answered by %q, %v; want %s", buffer[:n], err, want)
		}
	}
	ask("before")
	<-first
	b.ok("add", "10.77.0.1:53/udp", "10.77.0.3:53")
	var l log
	drained := b.start(t.Context(), l.world(nil, "drain", "10.77.0.1:53/udp", "10.77.0.2:53"))
	for !strings.Contains(nft(t, "list tables"), "hold") {
		select {
		case err := <-drained:
			t.Fatalf("it has held nothing: %v", err)
		default:
		}
	}
	ask("meanwhile")
	answer("10.77.0.2:53")
	if got := <-second; got != "meanwhile" {
		t.Errorf("the next one got %q", got)
	}
	answer("10.77.0.3:53")
	must(t, <-drained)
	b.expect("10.77.0.1:53/udp", destinations("10.77.0.3:53", 1))
}

// Several replicas end at the same time, and each of them answers what it has got.
func TestMachineDrainsAwaitAnswersInTurn(t *testing.T) {
	b := newBench(t)
	got, answer := make(chan string, 2), make(chan struct{})
	for _, address := range []string{"10.77.0.2:53", "10.77.0.3:53"} {
		b.in(b.backends, func() {
			socket, err := net.ListenPacket("udp", address)
			must(t, err)
			t.Cleanup(func() { socket.Close() })
			go func() {
				_, from, err := socket.ReadFrom(make([]byte, 100))
				if err != nil {
					return
				}
				got <- address
				<-answer
				_, _ = socket.WriteTo([]byte(address), from)
			}()
		})
		b.ok("add", "10.77.0.1:53/udp", address)
	}
	clients := map[string]net.Conn{} // by the replica that has the question
	for range 2 {
		client, err := net.Dial("udp", "10.77.0.1:53")
		must(t, err)
		defer client.Close()
		_, err = client.Write([]byte("question"))
		must(t, err)
		clients[<-got] = client
	}
	b.ok("add", "10.77.0.1:53/udp", "10.77.0.4:53")
	var first, second log
	firstEnds := b.start(t.Context(), first.world(nil, "drain", "10.77.0.1:53/udp", "10.77.0.2:53"))
	for !strings.Contains(nft(t, "list tables"), "hold") {
		time.Sleep(time.Millisecond)
	}
	secondEnds := b.start(t.Context(), second.world(nil, "drain", "10.77.0.1:53/udp", "10.77.0.3:53"))
	must(t, <-firstEnds)
	close(answer)
	client := clients["10.77.0.3:53"]
	must(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 100)
	if n, err := client.Read(buffer); string(buffer[:n]) != "10.77.0.3:53" {
		t.Errorf("the second one's answer: %q, %v", buffer[:n], err)
	}
	must(t, <-secondEnds)
	b.expect("10.77.0.1:53/udp", destinations("10.77.0.4:53", 1))
}

// A main process that ends between the look at it and the new destination must
// not leave the destination behind.
func TestMachineAddTakesBack(t *testing.T) {
	b := newBench(t)
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	main := exec.Command("sleep", "1000")
	must(t, main.Start())
	looks := 0
	env := func(name string) (string, bool) {
		if name != "MAINPID" {
			return "", false
		}
		if looks++; looks == 2 {
			b.expect("10.77.0.1:7001", destinations("10.77.0.2:80", 1, "10.77.0.3:80", 1))
			must(t, main.Process.Kill())
			main.Wait()
		}
		return strconv.Itoa(main.Process.Pid), true
	}
	var l log
	err := run(t.Context(), l.world(env, "add", "10.77.0.1:7001", "10.77.0.3:80"))
	if !errors.Is(err, mainprocess.ErrGone) || looks != 2 {
		t.Errorf("got %v after %d looks", err, looks)
	}
	b.expect("10.77.0.1:7001", destinations("10.77.0.2:80", 1))
	if l.statuses() != "" {
		t.Errorf("the main process's status was replaced: %s", l.statuses())
	}
}

// A container has the address of one that has ended, whose unit has yet to remove its
// destination.
func TestMachineLeavesAnothersDestination(t *testing.T) {
	b := newBench(t)
	as := func(id string, args ...string) {
		t.Helper()
		var l log
		env := func(name string) (string, bool) {
			if name != "SM_CONTAINER_ID" {
				return "", false
			}
			return id, true
		}
		if err := run(t.Context(), l.world(env, args...)); err != nil {
			t.Fatalf("sm-ipvs %s: %v", strings.Join(args, " "), err)
		}
	}
	for _, n := range []struct{ address, to string }{
		{"10.77.0.1:7001", "10.77.0.2:80"}, {"[fd77::1]:7001", "[fd77::2]:80"}, {"10.77.0.1:53/udp", "10.77.0.2:53"},
	} {
		as("old", "add", n.address, n.to)
		as("new", "add", n.address, n.to)
		as("old", "drain", n.address, n.to)
		as("old", "remove", n.address, n.to)
		as("old", "remove", n.address, n.to)
		b.expect(n.address, destinations(n.to, 1))
		as("new", "drain", n.address, n.to)
		if !strings.HasSuffix(n.address, "udp") {
			b.expect(n.address, destinations(n.to, 0))
		}
		as("new", "remove", n.address, n.to)
		b.expect(n.address, nil)
		// It has no owner now, and one without a name may do anything.
		as("new", "add", n.address, n.to)
		b.ok("remove", n.address, n.to)
		b.expect(n.address, nil)
		b.ok("add", n.address, n.to)
		as("old", "remove", n.address, n.to)
		b.expect(n.address, nil)
	}
}

func TestMachineRefuses(t *testing.T) {
	b := newBench(t)
	_, err := b.run("add", "--scheduler", "nope", "10.77.0.1:7001", "10.77.0.2:80")
	if err == nil || !strings.HasPrefix(err.Error(), `create virtual service 10.77.0.1:7001: the kernel has no scheduler "nope"`) {
		t.Errorf("unknown scheduler: %v", err)
	}
	_, err = b.run("add", "10.77.0.9:7001", "10.77.0.2:80")
	if err == nil || !strings.Contains(err.Error(), "10.77.0.9 is not an address of this host") {
		t.Errorf("foreign address: %v", err)
	}
	if out := b.ok("list"); out != "" {
		t.Errorf("left behind: %s", out)
	}
	_, err = b.run("check", "10.77.0.1:7001")
	if err == nil || !strings.Contains(err.Error(), "nothing serves here: there is no virtual service") {
		t.Errorf("check: %v", err)
	}

	// Without the capability; the thread gives it up for good.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var capabilities [2]unix.CapUserData
	must(t, unix.Capget(&header, &capabilities[0]))
	capabilities[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	must(t, unix.Capset(&header, &capabilities[0]))
	for _, args := range [][]string{
		{"add", "10.77.0.1:7001", "10.77.0.2:80"}, {"drain", "10.77.0.1:7001", "10.77.0.2:80"},
		{"remove", "10.77.0.1:7001", "10.77.0.2:80"}, {"check", "10.77.0.1:7001"}, {"list"},
	} {
		if _, err := b.run(args...); !errors.Is(err, ipvs.ErrNotPermitted) {
			t.Errorf("%v without CAP_NET_ADMIN: %v", args, err)
		}
	}
}

func TestMachineListsForeignServices(t *testing.T) {
	b := newBench(t)
	for _, args := range []string{"-A -f 7 -s sh", "-a -f 7 -r 10.77.0.2:0 -g", "-A -t 10.77.0.1:9000 -s rr"} {
		if out, err := exec.Command("ipvsadm", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ipvsadm %s: %v: %s", args, err, out)
		}
	}
	want := `VIRTUAL SERVICE  SCHEDULER  DESTINATION  WEIGHT  ACTIVE  INACTIVE
10.77.0.1:9000   rr         -            -       -       -
fwmark:7         sh         10.77.0.2:0  1       0       0
`
	if diff := cmp.Diff(want, b.ok("list")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := b.run("check", "10.77.0.1:9000"); err == nil || !strings.Contains(err.Error(), "the virtual service has no destination") {
		t.Errorf("check of an empty service: %v", err)
	}
	// A virtual service that is left empty, by whatever, goes at the next remove.
	b.ok("remove", "10.77.0.1:9000", "10.77.0.2:80")
	b.expect("10.77.0.1:9000", nil)
}

// Two units come and go at one virtual service: neither may remove it while the other
// uses it.
func TestMachineConcurrentAddAndRemove(t *testing.T) {
	b := newBench(t)
	var units sync.WaitGroup
	for i := 2; i <= 4; i++ {
		units.Add(1)
		go b.in(b.host, func() {
			defer units.Done()
			to := fmt.Sprintf("10.77.0.%d:80", i)
			for range 50 {
				if _, err := b.run("add", "10.77.0.1:7001", to); err != nil {
					t.Errorf("add %s: %v", to, err)
				}
				if _, there := b.weights("10.77.0.1:7001")[netip.MustParseAddrPort(to)]; !there {
					t.Errorf("%s was added and is not there", to)
				}
				if _, err := b.run("remove", "10.77.0.1:7001", to); err != nil {
					t.Errorf("remove %s: %v", to, err)
				}
			}
		})
	}
	units.Wait()
	b.expect("10.77.0.1:7001", nil)
}

// Connections stay open while everything around them changes.
func TestMachineOpenConnectionsSurvive(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80", "10.77.0.3:80")
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	var open []net.Conn
	for range 5 {
		conn, err := b.dial("10.77.0.1:7001")
		must(t, err)
		b.ask(conn)
		open = append(open, conn)
	}
	b.ok("add", "--scheduler", "wrr", "10.77.0.1:7001", "10.77.0.3:80")
	b.ok("drain", "--timeout", "0s", "10.77.0.1:7001", "10.77.0.2:80")
	b.ok("remove", "10.77.0.1:7001", "10.77.0.3:80")
	for _, conn := range open {
		if got := b.ask(conn); got != "10.77.0.2:80" {
			t.Errorf("an open connection is with %s now", got)
		}
	}
	if _, err := b.dial("10.77.0.1:7001"); err == nil {
		t.Error("a new connection was accepted with every destination at weight 0")
	}
}

// The kernel's table is cleared by hand: the next command puts back what belongs there,
// with its weight.
func TestMachineRestores(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80", "10.77.0.3:80", "10.77.0.4:80")
	both, one := destinations("10.77.0.2:80", 0, "10.77.0.3:80", 3), destinations("10.77.0.4:80", 1)
	begin := func() {
		t.Helper()
		b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
		b.ok("add", "--scheduler", "wrr", "--weight", "3", "10.77.0.1:7001", "10.77.0.3:80")
		b.ok("drain", "--timeout", "0s", "10.77.0.1:7001", "10.77.0.2:80")
		b.ok("add", "10.77.0.1:7002", "10.77.0.4:80")
		b.flush()
	}
	check := func(said string) {
		t.Helper()
		b.expect("10.77.0.1:7001", both)
		if want := "put 10.77.0.2:80 back at 10.77.0.1:7001: it was missing in the kernel\nput 10.77.0.3:80 back at 10.77.0.1:7001: it was missing in the kernel\n"; !strings.HasPrefix(said, want) {
			t.Errorf("said %q", said)
		}
		if list := b.ok("list", "10.77.0.1:7001"); strings.Count(list, "wrr") != 2 {
			t.Errorf("another scheduler: %s", list)
		}
		if got := b.who("10.77.0.1:7001"); got != "10.77.0.3:80" {
			t.Errorf("a new connection is with %s", got)
		}
	}
	begin()
	check(b.ok("restore"))
	b.expect("10.77.0.1:7002", one)
	if said := b.ok("restore"); said != "" {
		t.Errorf("restored what was there: %s", said)
	}

	begin()
	check(b.ok("restore", "10.77.0.1:7001"))
	b.expect("10.77.0.1:7002", nil)
	if said := b.ok("restore"); said != "put 10.77.0.4:80 back at 10.77.0.1:7002: it was missing in the kernel\n" {
		t.Errorf("said %q", said)
	}

	begin()
	check(b.ok("drain", "--timeout", "0s", "10.77.0.1:7001", "10.77.0.2:80"))
	begin()
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")
	b.expect("10.77.0.1:7001", destinations("10.77.0.3:80", 3))
	begin()
	b.ok("add", "10.77.0.1:7001", "10.77.0.4:80")
	b.expect("10.77.0.1:7001", destinations("10.77.0.2:80", 0, "10.77.0.3:80", 3, "10.77.0.4:80", 1))

	for _, n := range []struct{ at, to string }{
		{"10.77.0.1:7001", "10.77.0.2:80"}, {"10.77.0.1:7001", "10.77.0.3:80"},
		{"10.77.0.1:7001", "10.77.0.4:80"}, {"10.77.0.1:7002", "10.77.0.4:80"},
	} {
		b.ok("remove", n.at, n.to)
	}
	if said := b.ok("restore") + b.ok("list"); said != "" {
		t.Errorf("restored what was removed: %s", said)
	}
}
