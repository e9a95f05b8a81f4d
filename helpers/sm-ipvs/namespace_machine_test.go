//go:build machine

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
)

// These tests change the kernel's virtual services. They need root on a kernel
// with IPVS, and stay in network namespaces that they make themselves:
//
//	go test -tags machine ./helpers/sm-ipvs

// bench is a host with a network to backends, each part in a network namespace
// of its own. The test's goroutine is on the host.
type bench struct {
	t        *testing.T
	host     int // network namespaces
	backends int
}

// newBench makes a host with the addresses 10.77.0.1 and fd77::1 and backends with
// 10.77.0.2 to 10.77.0.4 and fd77::2 to fd77::4. The host gives each test virtual
// services of its own, and no notes about those of others.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t}
	// The thread ends with the goroutine, because it is never unlocked.
	runtime.LockOSThread()
	b.host = newNamespace(t)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "backends"}, PeerName: "host"}
	must(t, netlink.LinkAdd(link))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		b.backends = newNamespace(t)
	}()
	<-done
	peer, err := netlink.LinkByName("host")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, b.backends))
	up(t, "backends", "10.77.0.1/24", "fd77::1/64")
	notes, err := filepath.Glob("/run/service-manager/ipvs/*77*")
	must(t, err)
	for _, note := range notes {
		must(t, os.Remove(note))
	}
	b.in(b.backends, func() {
		up(t, "host", "10.77.0.2/24", "10.77.0.3/24", "10.77.0.4/24", "fd77::2/64", "fd77::3/64", "fd77::4/64")
	})
	return b
}

// newNamespace moves the calling thread into a new network namespace.
func newNamespace(t *testing.T) int {
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	file, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	t.Cleanup(func() { file.Close() })
	up(t, "lo")
	return int(file.Fd())
}

// farClient makes a client of the host, in a network namespace of its own, whose
// packets take that long to get there.
func (b *bench) farClient(delay time.Duration) (namespace int) {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "clients"}, PeerName: "outside"}
	must(b.t, netlink.LinkAdd(link))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		namespace = newNamespace(b.t)
	}()
	<-done
	outside, err := netlink.LinkByName("outside")
	must(b.t, err)
	must(b.t, netlink.LinkSetNsFd(outside, namespace))
	up(b.t, "clients", "10.78.0.1/24")
	must(b.t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	b.in(namespace, func() {
		up(b.t, "outside", "10.78.0.2/24")
		must(b.t, netlink.RouteAdd(&netlink.Route{Dst: network("10.77.0.0/24"), Gw: net.ParseIP("10.78.0.1")}))
	})
	b.delay(namespace, delay)
	b.in(b.backends, func() {
		must(b.t, netlink.RouteAdd(&netlink.Route{Dst: network("10.78.0.0/24"), Gw: net.ParseIP("10.77.0.1")}))
	})
	return namespace
}

// delay makes a client's packets take that long to get to the host.
func (b *bench) delay(client int, delay time.Duration) {
	b.in(client, func() {
		link, err := netlink.LinkByName("outside")
		must(b.t, err)
		must(b.t, netlink.QdiscReplace(netlink.NewNetem(
			netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			netlink.NetemQdiscAttrs{Latency: uint32(delay.Microseconds())})))
	})
}

func network(prefix string) *net.IPNet {
	_, n, _ := net.ParseCIDR(prefix)
	return n
}

// awaitState waits for a connection in that state, as the kernel names it.
func (b *bench) awaitState(state string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		list, err := os.ReadFile("/proc/thread-self/net/ip_vs_conn")
		must(b.t, err)
		if strings.Contains(string(list), " "+state+" ") {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no connection is %s:\n%s", state, list)
		}
	}
}

func up(t *testing.T, name string, addresses ...string) {
	link, err := netlink.LinkByName(name)
	must(t, err)
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		must(t, err)
		address.Flags = unix.IFA_F_NODAD // usable at once
		must(t, netlink.AddrAdd(link, address))
	}
	must(t, netlink.LinkSetUp(link))
}

func must(t *testing.T, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// in runs f on a thread in a network namespace.
func (b *bench) in(namespace int, f func()) {
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		defer wait.Done()
		runtime.LockOSThread()
		if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
			b.t.Error(err)
			return
		}
		f()
	}()
	wait.Wait()
}

// listen makes a backend pass each of its connections to handle, and close it then.
func (b *bench) listen(address string, handle func(net.Conn)) {
	b.in(b.backends, func() {
		listener, err := net.Listen("tcp", address)
		must(b.t, err)
		b.t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					handle(conn)
				}()
			}
		}()
	})
}

// serve answers each line that a client of a backend sends with the backend's address.
func (b *bench) serve(addresses ...string) {
	for _, address := range addresses {
		b.listen(address, func(conn net.Conn) {
			for buffer := make([]byte, 100); ; {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				fmt.Fprintln(conn, address)
			}
		})
	}
}

// dial connects to an address of the host.
func (b *bench) dial(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err == nil {
		b.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// ask returns which backend is at the other end.
func (b *bench) ask(conn net.Conn) string {
	b.t.Helper()
	must(b.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := io.WriteString(conn, "who?\n")
	must(b.t, err)
	buffer := make([]byte, 100)
	n, err := conn.Read(buffer)
	must(b.t, err)
	return strings.TrimSpace(string(buffer[:n]))
}

// askOnce returns which backend a client reaches, or what happens to it instead.
func askOnce(address string) string {
	conn, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // the read says what is wrong
	_, _ = io.WriteString(conn, "who?\n")
	buffer := make([]byte, 100)
	n, err := conn.Read(buffer)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(buffer[:n]))
}

// who returns which backend a new connection reaches.
func (b *bench) who(address string) string {
	b.t.Helper()
	conn, err := b.dial(address)
	must(b.t, err)
	defer conn.Close()
	return b.ask(conn)
}

// log is the output of a helper.
type log struct {
	mu     sync.Mutex
	status []string
	out    bytes.Buffer
	change chan struct{} // gets a value at each status when there is room
}

func (l *log) world(env func(string) (string, bool), args ...string) command.World {
	l.change = make(chan struct{}, 1)
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	return command.World{Args: args, Stdout: &l.out, Stderr: &l.out, Env: env, Notify: notify.To(func(state string) {
		l.mu.Lock()
		l.status = append(l.status, state)
		l.mu.Unlock()
		select {
		case l.change <- struct{}{}:
		default:
		}
	})}
}

func (l *log) statuses() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.status, "\n")
}

// await waits until a helper that runs has told systemd a status.
func (l *log) await(t *testing.T, ends <-chan error, status string) {
	t.Helper()
	for !strings.Contains(l.statuses(), status) {
		select {
		case <-l.change:
		case err := <-ends:
			t.Fatalf("it ended before it said %q: %v, %s", status, err, l.statuses())
		}
	}
}

// run runs the helper on the calling thread and returns what it printed.
func (b *bench) run(args ...string) (string, error) {
	var l log
	err := run(b.t.Context(), l.world(nil, args...))
	return l.out.String(), err
}

// ok is run for what must succeed.
func (b *bench) ok(args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	if err != nil {
		b.t.Fatalf("sm-ipvs %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// start runs the helper on the host beside the test.
func (b *bench) start(ctx context.Context, w command.World) <-chan error {
	done := make(chan error, 1)
	go b.in(b.host, func() { done <- run(ctx, w) })
	return done
}

// weights returns the destinations of a virtual service with their weights.
func (b *bench) weights(address string) map[netip.AddrPort]int {
	b.t.Helper()
	services, err := allServices()
	must(b.t, err)
	weights := map[netip.AddrPort]int{}
	for _, s := range services {
		if s.Address.String() == address {
			for _, d := range s.Destinations {
				weights[d.Address] = d.Weight
			}
			return weights
		}
	}
	return nil
}

// flush clears the kernel's table, as an administrator does.
func (b *bench) flush() {
	b.t.Helper()
	out, err := exec.Command("ipvsadm", "--clear").CombinedOutput()
	if err != nil {
		b.t.Fatalf("ipvsadm --clear: %v: %s", err, out)
	}
}
