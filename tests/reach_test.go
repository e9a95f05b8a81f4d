//go:build machine

package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"service-manager/tests/vm"
)

// The addresses of one service: docker0's, one for the outside, and one of a network
// from which no packet leaves; those of docker0 and for the outside in IPv6, too.
const (
	docker0, public, inner = address, "10.99.0.1:7001", "172.30.0.1:7001"
	docker0Six, publicSix  = "[fd00:17::1]:7001", "[fd00:99::1]:7001"
)

// prepareReach has web serve at all of them, and makes clients.
const prepareReach = `set -e
jq '. + {ipv6: true, "fixed-cidr-v6": "fd00:17::/64"}' /etc/docker/daemon.json >/etc/docker/daemon.json.new
mv /etc/docker/daemon.json.new /etc/docker/daemon.json
systemctl restart docker
sysctl -q net.ipv6.conf.all.forwarding=1
docker network create user --ipv6 --subnet fd00:18::/64 --subnet 172.28.0.0/16 >/dev/null
docker network create internal --internal --subnet 172.30.0.0/16 >/dev/null
for network in bridge user internal; do
  docker run -d --name client-$network --network $network --restart always --env PORT=9000 app:1 >/dev/null
done
docker run -d --name client-host --network host --restart always --env PORT=9000 app:1 >/dev/null
ip addr add fd00:99::1/64 dev to-outside nodad
ip -n outside addr add fd00:99::2/64 dev eth0 nodad
ip -n outside route add default via fd00:99::1
`

// others makes sm-ipvs add the container of web to the other addresses, or remove it.
func others(verb string) string {
	return strings.ReplaceAll(`set -e
record=$(ls /run/service-manager/web/*.env)
. $record
for address in `+public+` `+inner+`; do sm-ipvs VERB $address $SM_CONTAINER_IP:80; done
for address in `+docker0Six+` `+publicSix+`; do sm-ipvs VERB $address "[$SM_CONTAINER_IP6]:80"; done
`, "VERB", verb)
}

// serveAll gives the container of web the other addresses, and makes its network, and
// those of the clients, easy to enter.
var serveAll = others("add") + `for client in client-host client-bridge client-user client-internal web.${record##*/}; do
  ln -sf /proc/$(docker inspect -f '{{.State.Pid}}' ${client%.env})/ns/net /run/${client%%.*}.net
done
`

// The clients of the matrix, in the order of its columns.
var clients = []struct{ name, enter string }{
	{"host", "env"},
	{"its network", "nsenter --net=/run/client-host.net"}, // a container that shares it
	{"outside", "ip netns exec outside"},
	{"docker0", "nsenter --net=/run/client-bridge.net"},
	{"user", "nsenter --net=/run/client-user.net"},
	{"internal", "nsenter --net=/run/client-internal.net"},
	{"own", "nsenter --net=/run/web.net"},
}

// ask prints, for each client, the status and the client's address as web saw it, or
// "000" when there was no answer.
func ask(t testing.TB, g *vm.Guest, address string) map[string]string {
	t.Helper()
	var script strings.Builder
	for _, c := range clients {
		fmt.Fprintf(&script, "echo '%s:' $(%s curl -sg -m 4 -o /dev/null -w '%%{http_code} %%header{x-client}' http://%s/) &\n", c.name, c.enter, address)
	}
	script.WriteString("wait")
	saw := make(map[string]string)
	for line := range strings.Lines(output(t, g, script.String())) {
		client, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
		saw[client] = what
	}
	return saw
}

// A firewall is what an operator has set up. Where it is closed to the service, it says
// who gets through anyway.
type firewall struct {
	name, up, down string
	closed         bool
	lets           []string
	may            string // a client for which Docker's releases differ
}

// nftables is a firewall that lets in what it knows, and one port.
func nftables(rule, port string) string {
	return `nft -f - <<X
table inet operator {
	chain input {
		type filter hook input priority 0; policy drop
		iif lo accept
		` + rule + `
		ct state established,related accept
		ct state new tcp dport { 22, ` + port + ` } accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
	}
	chain forward {
		type filter hook forward priority 0; policy drop
		` + rule + `
		ct state established,related accept
	}
}
X`
}

const noStrays = "ct state invalid drop"

var firewalls = []firewall{
	{name: "none"},
	{name: "nftables, no strays", up: nftables(noStrays, "7001"), down: "nft delete table inet operator"},
	{name: "ufw", up: "ufw allow 22; ufw allow 7001/tcp; ufw --force enable", down: "ufw --force reset"},
	{name: "nftables", up: nftables("", "7001"), down: "nft delete table inet operator"},
	{name: "iptables, FORWARD DROP", up: "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP", down: "iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT"},
	{name: "nftables, closed", up: nftables(noStrays, "7009"), down: "nft delete table inet operator", closed: true, lets: []string{"host"}},
	{name: "ufw, closed", up: "ufw allow 22; ufw --force enable", down: "ufw --force reset", closed: true, lets: []string{"host"}},
	// Docker puts its networks into a zone of their own, which lets everything in; Docker
	// 20.10 leaves internal ones out.
	{name: "firewalld", up: firewalld + "firewall-cmd -q --add-port=7001/tcp"},
	{name: "firewalld, closed", up: "firewall-cmd -q --remove-port=7001/tcp", down: "firewall-cmd -q --add-port=80/tcp", closed: true, lets: []string{"host", "docker0", "user", "own"}, may: "internal"},
}

// firewalld starts it as at boot, before Docker.
const firewalld = "systemctl unmask firewalld; systemctl start firewalld; firewall-cmd -q --add-service=ssh; systemctl restart docker\n"

// Every client reaches a service address, including the service's own containers and
// those of other networks, with its own address; the host's rules for incoming packets
// decide, and those for forwarded ones do not.
func TestReach(t *testing.T) {
	medium(t)
	forReleases(t, func(t *testing.T, release string) {
		g := start(t, installed(t, release), vm.Options{})
		addClient(t, g, "outside", "10.99.0")
		output(t, g, prepareReach)
		first(t, g, app("r0"), "r0")
		output(t, g, serveAll)
		var matrix strings.Builder
		table := tabwriter.NewWriter(&matrix, 0, 8, 2, ' ', 0)
		fmt.Fprint(table, "firewall\taddress")
		for _, c := range clients {
			fmt.Fprint(table, "\t", c.name)
		}
		fmt.Fprintln(table)
		list, addresses := firewalls, []string{docker0, public, inner, docker0Six, publicSix}
		if !*longTests {
			list, addresses = list[:2], addresses[:4]
		}
		for _, f := range list {
			t.Run(f.name, func(t *testing.T) {
				restarts := strings.HasPrefix(f.up, firewalld) // web gets another container
				if restarts {
					output(t, g, others("remove"))
				}
				output(t, g, f.up)
				if restarts {
					waitFor(t, g, 3*time.Minute, tidy+answering("r0")+`
for network in host bridge user internal; do test "$(docker inspect -f '{{.State.Running}}' client-$network)" = true; done`)
					output(t, g, serveAll)
				}
				for _, at := range addresses {
					saw := ask(t, g, at)
					fmt.Fprintf(table, "%s\t%s", f.name, at)
					for _, c := range clients {
						fmt.Fprint(table, "\t", saw[c.name])
						f.check(t, at, c.name, saw[c.name])
					}
					fmt.Fprintln(table)
				}
				f.explains(t, g)
				output(t, g, f.down)
			})
		}
		table.Flush()
		t.Logf("who reaches a service address, and as whom:\n%s", matrix.String())

		// The service moves to an address of its own, which the host lacks.
		output(t, g, others("remove"))
		const own = "198.51.100.7"
		edit(t, g, "web", app("r1").With("address", own+":80").With("assign_address", true))
		waitFor(t, g, 3*time.Minute, "ip netns exec outside curl -fsS -m 5 http://"+own+"/ | grep -x 'revision r1'")
		waitFor(t, g, 3*time.Minute, `set -e
test "$(ipvsadm -Sn | grep -c -e ' -r ')" = 1
test "$(systemctl list-jobs --no-legend | wc -l)" = 0`)
		if has := output(t, g, "ip -brief address show dev sm-addresses"); !strings.Contains(has, " "+own+"/32") {
			t.Error(has)
		}

		// All that was added goes with the last destination.
		output(t, g, "systemctl stop web@manager")
		if left := output(t, g, "nft list tables | grep service-manager; ip -brief link show | grep sm-; sysctl -n net.ipv4.vs.conntrack"); left != "0" {
			t.Errorf("left over: %s", left)
		}
	})
}

// explains checks that sm-ipvs sees what clients see, and names what is in the way.
func (f firewall) explains(t *testing.T, g *vm.Guest) {
	t.Helper()
	for from, client := range map[string]string{"outside": "outside", "container": "docker0"} {
		for _, at := range []string{docker0, docker0Six} {
			r, err := g.Run(ctx(t, time.Minute), "sm-ipvs check --from "+from+" "+at)
			if err != nil {
				t.Fatal(err)
			}
			if !f.closed || slices.Contains(f.lets, client) {
				if r.ExitCode != 0 {
					t.Errorf("check of %s from %s: %s", at, from, r.Stderr)
				}
				continue
			}
			if r.ExitCode != 1 || !strings.Contains(r.Stderr, "is in its way") {
				t.Errorf("check of %s from %s, which is closed: exit status %d: %s", at, from, r.ExitCode, r.Stderr)
			}
			t.Logf("from %s: %s", from, r.Stderr)
		}
	}
}

// check compares what a client saw with what it should see.
func (f firewall) check(t *testing.T, at, client, saw string) {
	t.Helper()
	if client == "internal" && at != inner {
		return // whether such a network leads to the host's other addresses is Docker's affair
	}
	if client == f.may {
		return
	}
	if f.closed && !slices.Contains(f.lets, client) && client != "its network" {
		if saw != "000" {
			t.Errorf("%s reaches %s: %s", client, at, saw)
		}
		return
	}
	// The container sees others of its network, and itself, as its host; the same goes
	// for clients from networks whose containers Docker hides.
	as := map[string]string{"outside": "10.99.0.2", "user": "172.17.0.1", "internal": "172.30.0.2", "docker0": "172.17.0.1", "own": "172.17.0.1"}
	if strings.HasPrefix(at, "[") {
		as = map[string]string{"outside": "fd00:99::2", "user": "fd00:18::2", "docker0": "fd00:17::1", "own": "fd00:17::1"}
	}
	if want := "200 " + as[client]; !strings.HasPrefix(saw, want) {
		t.Errorf("%s does not reach %s as it should: saw %q, not %q", client, at, saw, want)
	}
}
