//go:build machine

package tests

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

var stopFirst = map[string]string{"order": "stop-first", "hold": "5m"}

// While something that must not run twice is replaced, no client is refused, wherever it
// is: each waits, and connects when the new container is ready.
func TestStopFirst(t *testing.T) {
	medium(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	single := func(revision string, settings ...string) definition {
		return app(revision, settings...).With("rollout", stopFirst)
	}
	first(t, g, single("r0"), "r0")
	checkOthers := otherClients(t, g)
	addFarClient(t, g, "far", "10.98.0", 200*time.Millisecond)
	far := startLoad(t, g, "ip netns exec far", "--connections-per-second", "3", "--keep-alive", "1", "http://"+address+"/")
	near := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "2", "http://"+address+"/")
	swaps := 10
	if !*longTests {
		swaps = 1
	}
	last := "r0"
	for i := range swaps {
		last = fmt.Sprintf("r%d", i+1)
		edit(t, g, "web", single(last))
		answers(t, g, last)
		settled(t, g, last)
	}
	// If the new one is never healthy, clients only notice that it takes long, too.
	edit(t, g, "web", single("bad", "APP_HEALTH=never").With("health_check", map[string]string{"timeout": "3s"}))
	waitFor(t, g, 3*time.Minute, "grep 'not healthy' /run/service-manager/web/*.failed")
	answers(t, g, last)
	waitFor(t, g, time.Minute, "! systemctl is-active sm-hold@web")

	report, outside := near.stop(t), far.stop(t)
	// How long they wait is how long an emulated processor takes for two starts.
	noneSentLost(t, "from the host", report)
	noneSentLost(t, "from 200 ms away, with 1 % lost", outside)
	checkOthers()
	if report.Revisions["bad"] != nil {
		t.Error("a revision that was rejected has answered")
	}
	waits := heldFor(t, g, "web")
	if len(waits) != swaps+1 {
		t.Errorf("clients were kept waiting %d times: %v", len(waits), waits)
	}
	var after []string
	for i, end := range strings.Fields(output(t, g, "journalctl -o short-unix -u sm-hold@web | grep ' waited, for at most ' | cut -d' ' -f1")) {
		if answer := report.Revisions[fmt.Sprintf("r%d", i+1)]; answer != nil {
			after = append(after, fmt.Sprintf("%.2f", float64(answer.First.Time.UnixMicro())/1e6-number(t, end)))
		}
	}
	t.Logf("FIGURE %d swaps and one that failed, stop first: from the host %d sent, %d lost, slowest connect %.2fs; from 200 ms away, with 1 %% lost, %d sent, %d lost, slowest connect %.2fs",
		swaps, report.Total.Sent, report.Total.Lost, report.Total.SlowestConnect, outside.Total.Sent, outside.Total.Lost, outside.Total.SlowestConnect)
	t.Logf("FIGURE seconds that clients were kept waiting: %s; from the end of that to the first answer: %s", strings.Join(waits, " "), strings.Join(after, " "))
}

// heldFor returns how many seconds clients of a service were kept waiting, each time. It
// must have been until there was a container again.
func heldFor(t testing.TB, g *vm.Guest, service string) []string {
	t.Helper()
	said := output(t, g, "journalctl -o cat -u sm-hold@"+service)
	if strings.Contains(said, "the time is up") {
		t.Error(said)
	}
	var seconds []string
	for _, line := range strings.Split(said, "\n") {
		if _, took, ok := strings.Cut(line, " waited, for at most "); ok {
			seconds = append(seconds, strings.TrimSuffix(took, "s"))
		}
	}
	return seconds
}

// psql is how clients of a PostgreSQL server run it, in a container that has it.
const psql = "/usr/lib/postgresql/15/bin/psql -h 172.17.0.1 -U postgres -qAtX -v ON_ERROR_STOP=1"

// A database is replaced again and again under clients that write: what it has
// acknowledged is there, and clients that connect for each row notice nothing.
func TestPostgreSQL(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	importPostgreSQL(t, g)
	database := func(n int) definition {
		return definition{"image": "postgresql:1", "address": "172.17.0.1:5432", "port": 5432,
			"health_check": map[string]string{"type": "tcp", "timeout": "5m"},
			"environment":  map[string]string{"REVISION": strconv.Itoa(n)},
			"volumes":      []string{"/srv/postgresql:/var/lib/postgresql"},
			"rollout":      stopFirst, "drain_timeout": "2s"}
	}
	good := func(n int) {
		t.Helper()
		waitFor(t, g, 5*time.Minute, fmt.Sprintf(`set -e
cd /etc/service-manager/revisions/db
grep -q '"REVISION": *"%d"' good
rev=$(readlink good); rev=${rev%%.json}
test "$(docker ps -a --filter label=service-manager.unit --format "{{.Names}} {{.State}}")" = "db.$rev running"
systemctl is-active db@manager "db@$rev"
! systemctl is-active sm-hold@db
test "$(systemctl list-jobs --no-legend | wc -l)" = 0`, n))
	}
	output(t, g, "mkdir -p /srv/postgresql /srv/acknowledged")
	edit(t, g, "db", database(0))
	good(0)
	if err := g.Put(ctx(t, time.Minute), "testdata/write-rows", "/srv/acknowledged/write-rows"); err != nil {
		t.Fatal(err)
	}
	output(t, g, `docker run --rm --network host --entrypoint /bin/sh postgresql:1 -c "`+psql+` -c 'create table rows (client text, n bigint, primary key (client, n))'"`)
	// Each has a line in its log for each row that was acknowledged.
	clients := map[string]string{"host": "host", "container": "bridge", "kept": "host"}
	every := ""
	for client, network := range clients {
		output(t, g, fmt.Sprintf("docker run -d --name %s --network %s -v /srv/acknowledged:/acknowledged --env PSQL='%s' --entrypoint /bin/sh postgresql:1 /acknowledged/write-rows %[1]s", client, network, psql))
		every += " " + client
	}
	// Each writes something before, after and between swaps.
	writes := func() {
		t.Helper()
		waitFor(t, g, 2*time.Minute, `cd /srv/acknowledged
for c in`+every+`; do test "$(wc -l < $c)" -gt "$(cat $c.before 2>/dev/null || echo 0)" || exit; done
for c in`+every+`; do wc -l < $c > $c.before; done`)
	}
	writes()
	const swaps = 10
	for n := range swaps {
		edit(t, g, "db", database(n+1))
		good(n + 1)
		writes()
	}
	output(t, g, "touch /srv/acknowledged/stop; docker wait"+every)
	for client := range clients {
		counts := strings.Fields(output(t, g, fmt.Sprintf(`cd /srv/acknowledged
docker run --rm --network host --entrypoint /bin/sh postgresql:1 -c "%s -c \"select n from rows where client = '%s'\"" | sort > /tmp/rows
sort %[2]s > /tmp/acknowledged
wc -l < /tmp/acknowledged; comm -13 /tmp/rows /tmp/acknowledged | wc -l; wc -l < %[2]s.errors`, psql, client)))
		t.Logf("FIGURE %d swaps of PostgreSQL, client %s: %s rows acknowledged, %s of them missing, %s lines of errors", swaps, client, counts[0], counts[1], counts[2])
		if counts[1] != "0" {
			t.Errorf("client %s: %s acknowledged rows are missing", client, counts[1])
		}
		// The one that keeps its connection loses it with the container.
		if client != "kept" && counts[2] != "0" {
			t.Errorf("client %s has noticed: %s", client, output(t, g, "head -20 /srv/acknowledged/"+client+".errors"))
		}
	}
	t.Logf("FIGURE seconds that clients of PostgreSQL were kept waiting: %s", strings.Join(heldFor(t, g, "db"), " "))
}

// importPostgreSQL makes the image postgresql:1.
func importPostgreSQL(t testing.TB, g *vm.Guest) {
	t.Helper()
	cache, err := harness.NewCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	files, err := cache.Part(ctx(t, 10*time.Minute), "postgresql")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Put(ctx(t, 5*time.Minute), files.File("rootfs.tar"), "/root/postgresql.tar"); err != nil {
		t.Fatal(err)
	}
	output(t, g, `set -e
docker import /root/postgresql.tar postgresql:import
rm /root/postgresql.tar
DOCKER_BUILDKIT=0 docker build -q -t postgresql:1 - <<'X'
FROM postgresql:import
ENTRYPOINT ["/docker-entrypoint"]
STOPSIGNAL SIGINT
X`)
}
