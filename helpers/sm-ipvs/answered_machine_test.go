//go:build machine

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A proxy keeps connections for its next request. A drain waits, for as long as it takes,
// for those on which an answer is due, and for no others.
func TestMachineDrainUntilAnswered(t *testing.T) {
	for _, n := range []struct{ name, address, destination string }{
		{"IPv4", "10.77.0.1:7001", "10.77.0.2:80"},
		{"IPv6", "[fd77::1]:7001", "[fd77::2]:80"},
	} {
		t.Run(n.name, func(t *testing.T) {
			b := newBench(t)
			release := b.serveSlowly(n.destination)
			b.ok("add", "--watch", n.address, n.destination)
			idle, slow := b.client(n.address), b.client(n.address)
			idle.ask("quick")
			idle.ask("quick")
			// The next request comes within the time that the kernel takes for one moment.
			slow.ask("quick")
			slow.send("slow")

			var l log
			drained := b.start(t.Context(), l.world(nil, "drain", "--until", "answered", "--timeout", "10m", n.address, n.destination))
			l.await(t, drained, "STATUS=draining "+n.destination+": 1 active connection and 1 idle")
			l.await(t, drained, "596s left") // longer than what is idle counts
			release <- true
			slow.read()
			begin := time.Now()
			b.ends(drained, &l)
			t.Logf("FIGURE drained %.2fs after the last answer", time.Since(begin).Seconds())
			if !strings.HasSuffix(l.statuses(), "STATUS=drained "+n.destination+" and 2 idle") {
				t.Errorf("said %s", l.statuses())
			}
			// What is kept is of use until the end.
			idle.ask("quick")
		})
	}
}

// A connection that is not known to have its answer is waited for.
func TestMachineDrainUntilAnsweredAwaits(t *testing.T) {
	waits := func(name string, what string, prepare func(t *testing.T, b *bench, release chan<- bool) (end func())) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			release := b.serveSlowly("10.77.0.2:80")
			t.Cleanup(func() { close(release) })
			b.ok("add", "--watch", "10.77.0.1:7001", "10.77.0.2:80")
			end := prepare(t, b, release)
			var l log
			drained := b.start(t.Context(), l.world(nil, "drain", "--until", "answered", "--timeout", "10m", "10.77.0.1:7001", "10.77.0.2:80"))
			l.await(t, drained, "STATUS=draining 10.77.0.2:80: "+what)
			l.await(t, drained, "596s left") // longer than what is idle counts
			end()
			b.ends(drained, &l)
		})
	}
	waits("a connection without a request", "1 active connection,", func(t *testing.T, b *bench, release chan<- bool) func() {
		c := b.client("10.77.0.1:7001")
		return func() { c.ask("quick") }
	})
	waits("a request of several packets", "1 active connection,", func(t *testing.T, b *bench, release chan<- bool) func() {
		c := b.client("10.77.0.1:7001")
		c.ask("quick")
		// No packet of it says that it is the last one.
		raw, err := c.Conn.(*net.TCPConn).SyscallConn()
		must(t, err)
		must(t, raw.Write(func(fd uintptr) bool {
			_, err = unix.SendmsgN(int(fd), make([]byte, 5000), nil, nil, unix.MSG_MORE)
			return true
		}))
		must(t, err)
		return func() { c.ask("") }
	})
	waits("an answer that has not arrived", "1 active connection,", func(t *testing.T, b *bench, release chan<- bool) func() {
		namespace := b.farClient(time.Millisecond)
		var c *client
		b.in(namespace, func() {
			c = b.client("10.77.0.1:7001")
			c.ask("quick")
			must(t, exec.Command("iptables", "-A", "INPUT", "-p", "tcp", "--tcp-flags", "PSH", "PSH", "-j", "DROP").Run())
			c.send("slow")
			c.awaitAcknowledgement() // or the request would be sent again, too
			release <- true
		})
		return func() {
			b.in(namespace, func() {
				must(t, exec.Command("iptables", "-F", "INPUT").Run())
				c.read()
			})
		}
	})
	waits("a client that has closed its side", "1 active connection and 1 idle", func(t *testing.T, b *bench, release chan<- bool) func() {
		idle, c := b.client("10.77.0.1:7001"), b.client("10.77.0.1:7001")
		idle.ask("quick")
		c.ask("quick")
		c.send("slow")
		must(t, c.Conn.(*net.TCPConn).CloseWrite())
		return func() {
			release <- true
			c.read()
		}
	})
	waits("another program's table", "1 active connection,", func(t *testing.T, b *bench, release chan<- bool) func() {
		c := b.client("10.77.0.1:7001")
		c.ask("quick")
		nft(t, "flush ruleset")
		b.ok("restore")
		return func() { c.ask("quick") }
	})
}

// The set has an entry for each open connection, and for no other.
func TestMachineAnsweredHoldsOpenConnections(t *testing.T) {
	b := newBench(t)
	b.serve("10.77.0.2:80")
	b.ok("add", "--watch", "10.77.0.1:7001", "10.77.0.2:80")
	b.ok("add", "--watch", "10.77.0.1:7002", "10.77.0.2:80")
	elements := func(set string) int {
		return strings.Count(nft(t, "list set ip service-manager "+set), "10.77.0.2 . 80")
	}
	kept, err := b.dial("10.77.0.1:7001")
	must(t, err)
	b.ask(kept)
	for range 20 {
		b.who("10.77.0.1:7001")
	}
	if n := elements("answered"); n != 1 {
		t.Errorf("%d elements for one open connection", n)
	}
	b.ok("remove", "10.77.0.1:7001", "10.77.0.2:80")
	if n := elements("watched"); n != 1 {
		t.Errorf("no longer watched, with an address left: %d", n)
	}
	b.ok("add", "10.77.0.1:7001", "10.77.0.2:80")
	b.ok("remove", "10.77.0.1:7002", "10.77.0.2:80")
	if n := elements("watched"); n != 0 {
		t.Errorf("watched without need: %d", n)
	}
	// Without a watch a drain waits for the end of connections.
	conn, err := b.dial("10.77.0.1:7001")
	must(t, err)
	b.ask(conn)
	out := b.ok("drain", "--until", "answered", "--timeout", "2s", "10.77.0.1:7001", "10.77.0.2:80")
	if !strings.Contains(out, "warning: drain 10.77.0.2:80: it was added without --watch") || !strings.Contains(out, "time is up after 2s with 1 active connection left") {
		t.Error(out)
	}
	if _, err := os.Stat("/run/service-manager/ipvs/10.77.0.1:7002_10.77.0.2:80"); err == nil {
		t.Error("a note is left")
	}
}

// ends waits for the end of a drain that nothing delays.
func (b *bench) ends(drained <-chan error, l *log) {
	b.t.Helper()
	select {
	case err := <-drained:
		if err != nil {
			b.t.Error(err)
		}
	case <-time.After(time.Minute):
		state, _ := exec.Command("sh", "-c", "nft list ruleset; conntrack -L; cat /proc/thread-self/net/ip_vs_conn").CombinedOutput()
		b.t.Fatalf("still waits:\n%s%s", l.statuses(), state)
	}
}

// client is a connection with one request after another.
type client struct {
	net.Conn
	t       *testing.T
	answers *bufio.Reader
}

func (b *bench) client(address string) *client {
	b.t.Helper()
	conn, err := b.dial(address)
	must(b.t, err)
	must(b.t, conn.SetDeadline(time.Now().Add(2*time.Minute)))
	return &client{conn, b.t, bufio.NewReader(conn)}
}

func (c *client) send(request string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c, request)
	must(c.t, err)
}

func (c *client) read() {
	c.t.Helper()
	_, err := c.answers.ReadString('\n')
	must(c.t, err)
}

// awaitAcknowledgement waits until the kernel at the other end has everything that was
// sent.
func (c *client) awaitAcknowledgement() {
	c.t.Helper()
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	must(c.t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var info *unix.TCPInfo
		must(c.t, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
		must(c.t, err)
		if info.Unacked == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d packets are not acknowledged", info.Unacked)
		}
	}
}

func (c *client) ask(request string) {
	c.t.Helper()
	c.send(request)
	c.read()
}

// serveSlowly answers each line, and one that says slow when release has a value.
func (b *bench) serveSlowly(address string) (release chan bool) {
	release = make(chan bool, 1)
	b.listen(address, func(conn net.Conn) {
		for requests := bufio.NewReader(conn); ; {
			request, err := requests.ReadString('\n')
			if err != nil {
				return
			}
			if request == "slow\n" {
				<-release
			}
			fmt.Fprintln(conn, "answer")
		}
	})
	return release
}
