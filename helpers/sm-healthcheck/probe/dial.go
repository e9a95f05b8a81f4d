package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A probe of a container bypasses the load balancer, but comes from the address that
// clients on this host have, too. The balancer remembers a client's address and port for
// minutes, and takes what the container answers to that port for part of the earlier
// connection: one that has ended is open again, and delays the drain of the container;
// one that is open ends. So probes use ports that the kernel gives to no client.

// localPorts has the ports that the kernel chooses from.
const localPorts = "/proc/sys/net/ipv4/ip_local_port_range"

// fewestPorts is how many other ports there must be.
const fewestPorts = 256

// attempts is how many ports are tried. Programs may be listening on some.
const attempts = 8

// dial connects from one of those ports or, if there are none, from any.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if !strings.HasPrefix(network, "tcp") {
		return d.DialContext(ctx, network, address)
	}
	text, _ := os.ReadFile(localPorts) // without it, the kernel's defaults
	if first, n := otherPorts(string(text)); n > 0 {
		for range attempts {
			from := d
			from.LocalAddr = &net.TCPAddr{Port: first + rand.N(n)}
			conn, err := from.DialContext(ctx, network, address)
			if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return conn, err
			}
		}
	}
	return d.DialContext(ctx, network, address)
}

// otherPorts returns the first, and the number, of ports outside the range that the
// kernel chooses from, which text has in the form of localPorts; none when they are too
// few.
func otherPorts(text string) (first, n int) {
	low, high := 32768, 60999
	_, _ = fmt.Sscan(text, &low, &high)
	const last = 65535
	if n = last - high; n >= fewestPorts {
		return high + 1, n
	}
	// Below the range are the ports of servers; the highest of those are the least used.
	if n = low - 1024; n >= fewestPorts {
		n = min(n, 4096)
		return low - n, n
	}
	return 0, 0
}
