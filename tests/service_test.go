//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

type definition = harness.Definition

const address = harness.Address

func app(revision string, settings ...string) definition { return harness.App(revision, settings...) }

// nginx returns a definition of Debian's nginx.
func nginx(revision string) definition {
	return app("").With("image", "nginx:1").With("environment", map[string]string{"REVISION": revision})
}

// edit puts the definition of a service into the folder store and returns when,
// by the guest's clock.
func edit(t testing.TB, g *vm.Guest, service string, d definition) time.Time {
	t.Helper()
	file := "/etc/service-manager/services/" + service + ".json"
	return guestTime(t, output(t, g, fmt.Sprintf("cat > %s.new <<'END'\n%s\nEND\nmv %s.new %s && date -u +%%FT%%T.%%NZ", file, d.JSON(t), file, file)))
}

func guestTime(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// answers waits until the service answers with that revision.
func answers(t testing.TB, g *vm.Guest, revision string) time.Duration {
	t.Helper()
	return waitFor(t, g, 3*time.Minute, answering(revision))
}

func answering(revision string) string {
	return "curl -fsS -m 5 -o /dev/null -D - http://" + address + "/ | tr -d '\\r' | grep -ix 'x-revision: " + revision + "'"
}

// bothUnderWay is true when two requests are under way and no more will come: a later one
// would be refused, and rightly so.
const bothUnderWay = "ipvsadm -Ln | awk '/Masq/ {n += $5} END {exit n != 2}'"

// settled waits until nothing of a rollout is under way: the answering revision is alone,
// it is good, systemd knows that, and no job is left.
func settled(t testing.TB, g *vm.Guest, revision string) {
	t.Helper()
	waitFor(t, g, 3*time.Minute, `set -e
cd /etc/service-manager/revisions/web
test "$(readlink current)" = "$(readlink good)"
rev=$(readlink good); rev=${rev%.json}
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = 1
test "$(docker ps --filter label=service-manager.unit --format "{{.Names}}")" = "web.$rev"
test "$(ls /run/service-manager/web/*.env)" = "/run/service-manager/web/$rev.env"
test "$(ipvsadm -Ln | grep -c Masq)" = 1
grep -q '^Restart=always' "/run/systemd/generator/web@$rev.service"
systemctl is-active web@manager.service "web@$rev.service"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`+answering(revision))
}

// first deploys the first revision of web and waits until all is quiet.
func first(t testing.TB, g *vm.Guest, d definition, revision string) {
	t.Helper()
	edit(t, g, "web", d)
	settled(t, g, revision)
}

// revisionName returns the name of the revision of web that a link names.
func revisionName(t testing.TB, g *vm.Guest, link string) string {
	t.Helper()
	return strings.TrimSuffix(output(t, g, "readlink /etc/service-manager/revisions/web/"+link), ".json")
}

// addClient makes a network namespace of that name in the guest, for a client with an
// address of its own. network is the first three numbers of both its ends.
func addClient(t testing.TB, g *vm.Guest, name, network string) {
	t.Helper()
	output(t, g, strings.NewReplacer("NAME", name, "NETWORK", network).Replace(`set -e
ip netns add NAME
ip link add to-NAME type veth peer name eth0 netns NAME
ip addr add NETWORK.1/24 dev to-NAME
ip link set to-NAME up
ip -n NAME addr add NETWORK.2/24 dev eth0
ip -n NAME link set eth0 up
ip -n NAME link set lo up
ip -n NAME route add default via NETWORK.1`))
}

// addFarClient makes a network namespace of that name, for a client that is so far away
// and loses 1 % of its packets, in either direction.
func addFarClient(t testing.TB, g *vm.Guest, name, network string, away time.Duration) {
	t.Helper()
	addClient(t, g, name, network)
	output(t, g, fmt.Sprintf(`tc qdisc add dev to-%[1]s root netem delay %[2]dus loss 1%%
ip netns exec %[1]s tc qdisc add dev eth0 root netem delay %[2]dus loss 1%%`, name, (away/2).Microseconds()))
}

// otherClients starts small loads from another container and from another network
// namespace with an address of its own. They end with the test; check returns once it has
// seen that they lost nothing.
func otherClients(t *testing.T, g *vm.Guest) (check func()) {
	t.Helper()
	addClient(t, g, "client", "10.99.0")
	output(t, g, `mkdir -p /tmp/reports
docker run -d --name client -v /tmp/reports:/reports client:1 `+patient+` --connections-per-second 2 --keep-alive 1 --out /reports/container.json http://`+address+`/`)
	netns := startLoad(t, g, "ip netns exec client", "--connections-per-second", "2", "--keep-alive", "1", "http://"+address+"/")
	return func() {
		t.Helper()
		noneLost(t, "from another network namespace", netns.stop(t))
		output(t, g, "docker stop -t 60 client; docker rm client")
		inside := readReport(t, g, "/tmp/reports/container.json")
		if !inside.Stopped {
			t.Errorf("the load in another container ended by itself after %.0fs", inside.Seconds)
		}
		noneLost(t, "from another container", inside)
	}
}

// nothingLeft checks that no trace of a running service is left.
func nothingLeft(t testing.TB, g *vm.Guest) {
	t.Helper()
	if out := output(t, g, `docker ps -a --format '{{.Names}} {{.Status}}'; ipvsadm -Ln | tail -n +4; find /run/service-manager -name '*.env' -o -path '*/ipvs/*'
systemctl list-units --no-legend --state=active,activating,deactivating 'web@*'`); out != "" {
		t.Errorf("left over: %s", out)
	}
}
