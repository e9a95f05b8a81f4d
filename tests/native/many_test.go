//go:build native

package native

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// editMany puts that definition of that many services, s0 and so on, into the folder
// store at once, each with an address of its own.
func (m *machine) editMany(t testing.TB, services int, each definition) {
	t.Helper()
	d := each.With("address", "172.17.0.1:PORT").With("drain_timeout", "0s").JSON(t)
	m.output(t, fmt.Sprintf(`cd /etc/service-manager/services
for n in $(seq 0 %d); do sed s/PORT/$((7200 + n))/ > s$n.json.new <<'END'
%s
END
done
for n in $(seq 0 %[1]d); do mv s$n.json.new s$n.json; done`, services-1, d))
}

// manySettled is true when that revision of each of the services serves, alone.
func manySettled(services int, revision string) string {
	return fmt.Sprintf(`cd /etc/service-manager/revisions
for n in $(seq 0 %d); do
	grep -q '"APP_REVISION": *"%s"' s$n/good
	test "$(readlink s$n/good)" = "$(readlink s$n/current)"
done
test "$(docker ps -aq --filter label=service-manager.unit | wc -l)" = %d
test "$(systemctl list-units --no-legend --state=active 's[0-9]*@manager.service' | wc -l)" = %[3]d
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
`, services-1, revision, services)
}

// inventory is what could grow from rollout to rollout.
const inventory = `pid=$(systemctl show -P MainPID sm-fetch)
dirty() { awk '/^Private_Dirty/ {print $2}' /proc/$1/smaps_rollup; }
echo "KB of sm-fetch: $(dirty $pid)"
echo "KB of sm-watch: $(dirty $(systemctl show -P MainPID sm-watch))"
echo "KB of systemd: $(dirty 1)"
echo "KB of dockerd: $(dirty $(pidof dockerd))"
echo "descriptors of sm-fetch: $(ls /proc/$pid/fd | wc -l)"
echo "descriptors of sm-watch: $(ls /proc/$(systemctl show -P MainPID sm-watch)/fd | wc -l)"
echo "descriptors of systemd: $(ls /proc/1/fd | wc -l)"
echo "units: $(systemctl list-units --all --no-legend 's[0-9]*@*' 'sm-*' 'service-manager*' | wc -l)"
echo "failed units: $(systemctl list-units --failed --no-legend | wc -l)"
echo "containers: $(docker ps -aq | wc -l)"
echo "files: $(find /etc/service-manager /run/service-manager /run/systemd/generator /run/systemd/transient -type f -o -type l | wc -l)"
echo "processes of helpers: $(pgrep -fc '^/usr/local/bin/sm-')"
`

// takeInventory returns what there is by name, in the order in which it is printed.
func (m *machine) takeInventory(t testing.TB) (names []string, amounts map[string]int) {
	t.Helper()
	amounts = map[string]int{}
	for _, line := range strings.Split(m.output(t, inventory), "\n") {
		name, text, _ := strings.Cut(line, ": ")
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		names = append(names, name)
		amounts[name] = n
	}
	return names, amounts
}

// Rollout after rollout of ten services at once, nothing grows.
func TestManyRollouts(t *testing.T) {
	long(t)
	const services = 10
	const first, more = 12, 88 // the first ones fill what is kept of the past
	m := start(t, bookworm)
	rounds := 0
	round := func() {
		rounds++
		revision := fmt.Sprintf("r%d", rounds)
		m.editMany(t, services, app(revision))
		m.waitFor(t, 3*patience, manySettled(services, revision))
	}
	for range first {
		round()
	}
	quiet := func() {
		t.Helper()
		// Beside them, sm-fetch and sm-watch, which remembers containers for half a minute.
		m.waitFor(t, patience, fmt.Sprintf("test $(pgrep -fc '^/usr/local/bin/sm-') = %d; test $(ls /run/service-manager/containers | wc -l) = %d", services+2, 2*services))
	}
	quiet()
	names, before := m.takeInventory(t)
	begin := time.Now()
	for range more {
		round()
	}
	took := time.Since(begin)
	quiet()
	_, after := m.takeInventory(t)
	t.Logf("FIGURE %d rollouts, ten at once: %.0fs, %.2fs each", services*more, took.Seconds(), took.Seconds()/float64(services*more))
	for _, name := range names {
		t.Logf("FIGURE %s: %d, was %d", name, after[name], before[name])
		most := before[name]
		if strings.HasPrefix(name, "KB ") {
			most += max(most/2, 4<<10) // what a garbage collector may have left
		}
		if after[name] > most {
			t.Errorf("%s: there were %d, and now are %d", name, before[name], after[name])
		}
	}
}

// Fifty definitions at once: they take turns, all serve, and none is rejected.
func TestManyServices(t *testing.T) {
	medium(t)
	services := 50
	if !*longTests {
		t.Parallel() // it measures nothing then
		services = 10
	}
	manyServices(t, start(t, bookworm), services, app("r1"))
}

// The same with as many as a large host has.
func TestTwoHundredServices(t *testing.T) {
	long(t)
	m := start(t, trixie)
	// Some kernels do not survive the end of a thousand threads that have a filter of
	// system calls each.
	m.output(t, `sed -i 's/^{/{"seccomp-profile":"unconfined",/' /etc/docker/daemon.json; systemctl restart docker`)
	if err := m.Put(ctx(t, patience), "/bin/busybox", "/root/small/bin/busybox"); err != nil {
		t.Fatal(err)
	}
	m.output(t, `cd /root/small; mkdir www; echo ok > www/index.html; tar -c . | docker import - small:1`)
	small := app("r1").With("image", "small:1").With("command", []string{"/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"}).With("stop_timeout", "1s")
	const services = 200
	t.Cleanup(func() {
		for first := 0; first < services; first += 20 {
			m.output(t, fmt.Sprintf("systemctl stop $(seq -f s%%g@manager %d %d)", first, first+19))
		}
	})
	manyServices(t, m, services, small)
}

// memory is how much the processes of a helper have resident, in KB.
type memory struct{ one, all int }

func manyServices(t *testing.T, m *machine, services int, each definition) {
	t.Helper()
	limit := max(5*time.Minute, time.Duration(services)*6*time.Second)
	const reloads = "journalctl -b -o cat _PID=1 | grep -cE '^Reloading(\\.|\\.\\.\\.)?$' || true"
	const processor = "systemctl show -P CPUUsageNSec sm-fetch"
	was, used := m.number(t, reloads), m.number(t, processor)
	took := time.Now()
	m.editMany(t, services, each)
	helpers := map[string]memory{}
	for settled := false; !settled; {
		result := m.output(t, "ps -C sm-docker-run,sm-rollout,sm-healthcheck,sm-ipvs -o comm=,rss= | awk 'NF == 2 && $2 {all[$1] += $2; if ($2 > one[$1]) one[$1] = $2} END {for (c in all) print c, one[c], all[c]}'; if bash -e <<'END' >/dev/null 2>&1\n"+manySettled(services, "r1")+"END\nthen echo settled; else sleep 0.3; fi")
		for _, line := range strings.Split(result, "\n") {
			var helper string
			var now memory
			if settled = line == "settled"; settled || line == "" {
				continue
			}
			if _, err := fmt.Sscan(line, &helper, &now.one, &now.all); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			helpers[helper] = memory{max(helpers[helper].one, now.one), max(helpers[helper].all, now.all)}
		}
		if time.Since(took) > limit {
			t.Fatalf("after %s not all serve:\n%s", limit, m.output(t, "systemctl list-units --all --no-pager 's[0-9]*@*'"))
		}
	}
	t.Logf("FIGURE %d services at once: all serve after %.1fs, %d reloads, %.2fs of processor in sm-fetch",
		services, time.Since(took).Seconds(), m.number(t, reloads)-was, float64(m.number(t, processor)-used)/1e9)
	for _, helper := range slices.Sorted(maps.Keys(helpers)) {
		t.Logf("FIGURE %d services starting: one %s has %.1f MB resident at most, all together %d MB", services, helper, float64(helpers[helper].one)/1024, helpers[helper].all>>10)
	}
	if rejected := m.output(t, "find /run/service-manager -name '*.failed'"); rejected != "" {
		t.Errorf("rejected: %s", rejected)
	}
	names, amounts := m.takeInventory(t)
	for _, name := range names {
		t.Logf("FIGURE with %d services, idle: %s: %d", services, name, amounts[name])
	}
}

// number runs a script that prints a number.
func (m *machine) number(t testing.TB, script string) int {
	t.Helper()
	n, err := strconv.Atoi(m.output(t, script))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
