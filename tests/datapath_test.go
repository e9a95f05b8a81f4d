//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// What the ways to a container cost, in one run: requests on kept connections, and new
// connections, as many as possible. In an emulated machine only the ratios mean
// something.
func TestDataPath(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	// The same with a published port: not two ways to one container, whose ports would
	// meet.
	output(t, g, "docker run -d --name published -p 172.17.0.1:8099:80 -e APP_REVISION=published app:1")
	waitFor(t, g, time.Minute, "curl -fsS http://172.17.0.1:8099/")
	inside := output(t, g, "docker run -d --name inside app:1 >/dev/null; docker inspect -f '{{.NetworkSettings.IPAddress}}' inside") + ":80"
	addClient(t, g, "client", "10.99.0")
	for _, from := range []struct{ name, prefix string }{{"the host", ""}, {"outside", "ip netns exec client"}} {
		var line []string
		var base [2]float64
		for _, way := range []struct{ name, to, before string }{
			{"the container's own address", inside, ""},
			{"a published port", "172.17.0.1:8099", ""},
			{"the service address", address, ""},
			{"the service address, without connection tracking", address, "nft delete table ip service-manager; sysctl -qw net.ipv4.vs.conntrack=0"},
		} {
			if way.before != "" {
				output(t, g, way.before)
			}
			rate := func(args ...string) (perSecond float64) {
				l := sendLoad(t, g, from.prefix, append(append([]string{"--for", "8s"}, args...), "http://"+way.to+"/")...)
				report := l.wait(t)
				noneSentLost(t, way.name, report)
				return float64(report.Total.Answered) / report.Seconds
			}
			kept := rate("--connections-per-second", "0", "--keep-alive", "8", "--keep-alive-pause", "0s")
			fresh := rate("--connections-per-second", "2000", "--keep-alive", "0")
			if way.to == inside {
				base = [2]float64{kept, fresh}
			}
			line = append(line, fmt.Sprintf("%s: %.0f requests and %.0f new connections a second (%.2f, %.2f)", way.name, kept, fresh, kept/base[0], fresh/base[1]))
		}
		t.Logf("FIGURE from %s, %s", from.name, strings.Join(line, "; "))
		output(t, g, "sm-ipvs restore")
	}
}
