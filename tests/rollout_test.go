//go:build machine

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

// dockerRun measures what Docker alone takes from the command to the first
// answer of an image, several times, in seconds.
func dockerRun(t testing.TB, g *vm.Guest, image string) string {
	t.Helper()
	return output(t, g, `for i in 1 2 3; do
begin=$(date +%s%N)
docker run -d --name plain `+image+` >/dev/null
ip=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' plain)
until curl -fsS -m 2 -o /dev/null http://$ip/ 2>/dev/null; do sleep 0.05; done
echo $begin $(date +%s%N) | awk '{printf "%.1f ", ($2-$1)/1e9}'
docker rm -f plain >/dev/null
done`)
}

func TestRollouts(t *testing.T) {
	rollouts, perSecond, kept := 20, "40", "8"
	if !*longTests {
		// What a slow machine can emulate: if requests wait for longer than the drain may
		// take, it must cut them.
		rollouts, perSecond, kept = 2, "20", "4"
	}
	for _, kind := range []struct {
		name  string
		image string
		make  func(revision string) definition
	}{
		{"application", "app:1", func(revision string) definition { return app(revision) }},
		{"nginx", "nginx:1", nginx},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if kind.name == "nginx" {
				long(t)
			}
			g := start(t, installed(t, bookworm), vm.Options{})
			plain := dockerRun(t, g, kind.image)
			first(t, g, kind.make("r0"), "r0")
			checkOthers := otherClients(t, g)
			l := startLoad(t, g, "", "--connections-per-second", perSecond, "--keep-alive", kept, "http://"+address+"/")
			edits := make(map[string]time.Time)
			for i := 1; i <= rollouts; i++ {
				revision := fmt.Sprintf("r%d", i)
				edits[revision] = edit(t, g, "web", kind.make(revision))
				answers(t, g, revision)
			}
			settled(t, g, fmt.Sprintf("r%d", rollouts))
			renew(t, g, rollouts/2)
			report := l.stop(t)
			noneLost(t, "from the host", report)
			checkOthers()
			logTimes(t, edits, report, plain)
		})
	}
}

// renew replaces the only container of a service by another one of the same revision, so
// often.
func renew(t testing.TB, g *vm.Guest, times int) {
	t.Helper()
	const container = "docker ps -q --no-trunc --filter label=service-manager.unit"
	for range times {
		before := output(t, g, container)
		output(t, g, "systemctl reload web@manager")
		if now := output(t, g, container); now == before || len(now) != len(before) {
			t.Errorf("container %s became %s", before, now)
		}
	}
}

// logTimes prints how long each rollout took.
func logTimes(t testing.TB, edits map[string]time.Time, report traffic.Report, plain string) {
	t.Helper()
	var times []string
	for i := 1; i <= len(edits); i++ {
		revision := fmt.Sprintf("r%d", i)
		answer := report.Revisions[revision]
		if answer == nil {
			t.Errorf("revision %s never answered", revision)
			continue
		}
		times = append(times, fmt.Sprintf("%.1f", answer.First.Time.Sub(edits[revision]).Seconds()))
	}
	t.Logf("FIGURE seconds from the edit to the first answer of the new revision: %s; docker run alone, to its first answer: %s", strings.Join(times, " "), plain)
}

// 300 new connections a second from one client use its source ports again after
// 94 seconds: entries of retired destinations must not be met then. They take 95%
// of the emulated processors, so anything that happens beside them makes the
// client wait; what the network does is seen where a client uses its ports as
// often with fewer connections.
func TestManyConnections(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	// At 300 a second a request waits for half a minute in the application's queue,
	// which a shorter drain would cut.
	slowly := func(revision string) definition { return app(revision).With("drain_timeout", "60s") }
	first(t, g, slowly("r0"), "r0")
	checkOthers := otherClients(t, g)
	revisions := 0
	rollout := func(t *testing.T) {
		revisions++
		revision := fmt.Sprintf("r%d", revisions)
		edit(t, g, "web", slowly(revision))
		answers(t, g, revision)
		settled(t, g, revision)
	}
	// during returns what a client saw while something happened, and how many of its SYNs
	// the kernel had to resend, each of them after a second.
	during := func(t *testing.T, what string, perSecond int, check func(testing.TB, string, traffic.Report), happens func()) int {
		t.Helper()
		before := synsAgain(t, g)
		l := startLoad(t, g, "", "--connections-per-second", fmt.Sprint(perSecond), "--keep-alive", "0", "http://"+address+"/")
		happens()
		report := l.stop(t)
		check(t, what, report)
		again := synsAgain(t, g) - before
		t.Logf("FIGURE %d connections a second, %s: slowest connect %.2fs, SYNs sent again: %d", perSecond, what, report.Total.SlowestConnect, again)
		return again
	}
	t.Run("with as many for each port", func(t *testing.T) {
		const perSecond, reuse = 50, 94 * time.Second
		output(t, g, fmt.Sprintf("cp /proc/sys/net/ipv4/ip_local_port_range /run/ports && echo 32768 %d > /proc/sys/net/ipv4/ip_local_port_range", 32767+perSecond*int(reuse/time.Second)))
		again := during(t, "through three rollouts", perSecond, noneLost, func() {
			begin := time.Now()
			for range 3 {
				rollout(t)
			}
			time.Sleep(2*reuse - time.Since(begin)) // until each port was used twice
		})
		if again > 0 {
			t.Errorf("%d SYNs were lost", again)
		}
		output(t, g, "cat /run/ports > /proc/sys/net/ipv4/ip_local_port_range")
	})
	t.Run("300 a second", func(t *testing.T) {
		// Here the client itself may be too slow to send them all.
		during(t, "while nothing happens", 300, noneSentLost, func() {
			time.Sleep(20 * time.Second) // the length of the measurement
		})
		during(t, "beside docker run and docker rm", 300, noneSentLost, func() {
			for range 3 {
				output(t, g, "docker run -d --name plain app:1 && sleep 5 && docker rm -f plain")
			}
		})
		during(t, "through three rollouts", 300, noneSentLost, func() {
			for range 3 {
				rollout(t)
			}
		})
	})
	checkOthers()
	t.Run("a lost SYN is seen", func(t *testing.T) {
		before := synsAgain(t, g)
		output(t, g, "iptables -I INPUT -p tcp --dport 9 -j DROP && ! curl -s -m 5 http://127.0.0.1:9/")
		if synsAgain(t, g) == before {
			t.Error("the kernel counts no SYN that it sent again")
		}
	})
}

// synsAgain returns how many SYNs the host has resent since it booted.
func synsAgain(t testing.TB, g *vm.Guest) (n int) {
	t.Helper()
	fmt.Sscan(output(t, g, "nstat -asz TcpExtTCPSynRetrans | awk '/^TcpExt/ {print $2}'"), &n)
	return n
}

// The application drops what is under way when it is told to stop: only the drain can
// save requests that take long.
func TestSlowRequests(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	impolite := func(revision string) definition {
		return app(revision, "APP_SHUTDOWN=at-once").With("drain_timeout", "20s")
	}
	first(t, g, impolite("r0"), "r0")
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "2", "--keep-alive", "0", "--slow", "3", "--slow-for", "8s", "http://"+address+"/")
	rollouts := 3
	if !*longTests {
		rollouts = 2
	}
	for i := 1; i <= rollouts; i++ {
		revision := fmt.Sprintf("r%d", i)
		edit(t, g, "web", impolite(revision))
		answers(t, g, revision)
		settled(t, g, revision)
	}
	report := l.stop(t)
	noneLost(t, "requests of 8 seconds", report)
	checkOthers()
	t.Logf("FIGURE requests of 8s lost: %d of %d", report.Slow.Lost, report.Slow.Sent)
}

// The application exits at once on SIGTERM, and the clients are far away, lose packets,
// and close their side of a connection before they have the answer.
func TestImpoliteOnBothSides(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	impolite := func(revision string) definition {
		return app(revision, "APP_SHUTDOWN=at-once").With("drain_timeout", "30s")
	}
	first(t, g, impolite("r0"), "r0")
	addFarClient(t, g, "far", "10.98.0", 200*time.Millisecond)
	one := []string{"--connections-per-second", "5", "--keep-alive", "0", "--slow", "1", "--slow-for", "2s", "http://" + address + "/"}
	loads := map[string]*load{
		"far away":                   startLoad(t, g, "ip netns exec far", one...),
		"far away, and half-closing": startLoad(t, g, "ip netns exec far", append([]string{"--half-close"}, one...)...),
		"on the host, half-closing":  startLoad(t, g, "", append([]string{"--half-close"}, one...)...),
	}
	const rollouts = 20
	for i := 1; i <= rollouts; i++ {
		revision := fmt.Sprintf("r%d", i)
		edit(t, g, "web", impolite(revision))
		answers(t, g, revision)
		settled(t, g, revision)
	}
	for who, l := range loads {
		report := l.stop(t)
		noneLost(t, who, report)
		t.Logf("FIGURE %d rollouts, clients %s: lost %d of %d, and %d of %d that take 2s", rollouts, who,
			report.New.Lost, report.New.Sent, report.Slow.Lost, report.Slow.Sent)
	}
}

func TestNewestWins(t *testing.T) {
	long(t) // as with real systemd and no traffic, in tests/native
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")
	t.Run("two edits within 100ms", func(t *testing.T) {
		file := "/etc/service-manager/services/web.json"
		took := output(t, g, fmt.Sprintf(`begin=$(date +%%s%%N)
printf '%%s' '%s' > %s.new; mv %s.new %s
sleep 0.03
printf '%%s' '%s' > %s.new; mv %s.new %s
echo $(( ($(date +%%s%%N) - begin) / 1000000 ))`, app("r1").JSON(t), file, file, file, app("r2").JSON(t), file, file, file))
		t.Logf("both edits within %sms", took)
		settled(t, g, "r2")
	})
	t.Run("an edit during a rollout", func(t *testing.T) {
		edit(t, g, "web", app("r3", "APP_START_DELAY=50s"))
		waitFor(t, g, time.Minute, `docker ps --format '{{.Names}}' | grep -c ^web | grep -x 2`)
		superseded := revisionName(t, g, "current")
		edit(t, g, "web", app("r4"))
		settled(t, g, "r4")
		if state := output(t, g, "systemctl show -P ActiveState web@"+superseded); state != "inactive" {
			t.Errorf("the runner of the superseded revision is %s", state)
		}
	})
	newest := "r4"
	t.Run("an edit before the image is there", func(t *testing.T) {
		long(t)
		// Between two states of systemd's unit files, a runner must not lose its commands.
		for i := 5; i <= 9; i++ {
			newest = fmt.Sprintf("r%d", i)
			edit(t, g, "web", app(newest))
		}
		settled(t, g, newest)
	})
	t.Run("a copy has not got the address", func(t *testing.T) {
		output(t, g, "cd /etc/service-manager/services && cp web.json copy.json")
		waitFor(t, g, time.Minute, "journalctl -u sm-fetch -o cat | grep 'copy 1-.*: address: "+address+" is the address of web'")
		output(t, g, "cd /etc/service-manager/services && rm copy.json")
		settled(t, g, newest)
	})
	t.Run("a file is renamed, and gets its name back", func(t *testing.T) {
		long(t)
		for _, names := range [][2]string{{"web", "shop"}, {"shop", "web"}} {
			output(t, g, fmt.Sprintf("cd /etc/service-manager/services && mv %s.json %s.json", names[0], names[1]))
			waitFor(t, g, 2*time.Minute, fmt.Sprintf(`docker ps -a --filter label=service-manager.unit --format '{{.Names}}' | grep -c ^%s | grep -x 1
! docker ps -a --format '{{.Names}}' | grep ^%s
! test -e /etc/service-manager/revisions/%s`, names[1], names[0], names[0]))
		}
		settled(t, g, newest)
	})
	report := l.stop(t)
	noneLost(t, "through all edits", report)
	checkOthers()
	if report.Revisions["r3"] != nil {
		t.Errorf("the superseded revision answered: %+v", report.Revisions["r3"])
	}
}

// A revision that is replaced when it is already healthy may have connections, which only
// a stop in order drains.
func TestReplacedWithConnections(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")
	gone := func(t *testing.T, runner string) {
		t.Helper()
		waitFor(t, g, time.Minute, "systemctl show -P ActiveState web@"+runner+" | grep -x inactive && ! docker ps -a --format '{{.Names}}' | grep -x web."+runner)
	}
	t.Run("while it waits to be accepted", func(t *testing.T) {
		edit(t, g, "web", app("r1"))
		output(t, g, `cd /etc/service-manager/revisions/web
until test "$(readlink current)" != "$(readlink good)"; do sleep 0.05; done
systemctl stop sm-fetch
systemd-run --quiet --unit lock flock /etc/service-manager/revisions/.lock-web sleep infinity
systemctl daemon-reload # sm-fetch may not have come to that`)
		replaced := revisionName(t, g, "current")
		waitFor(t, g, time.Minute, `ipvsadm -Ln | grep -c Masq | grep -x 2 && pgrep -x sm-rollout`)
		output(t, g, "cd /etc/service-manager/revisions/web && ln -sfn $(readlink good) current && systemctl stop lock")
		gone(t, replaced)
		output(t, g, "systemctl start --no-block sm-fetch")
		settled(t, g, "r1")
	})
	put(t, g, "hold.conf", "/etc/systemd/system/web@runner.service.d/hold.conf")
	output(t, g, "systemctl daemon-reload")
	t.Run("while a step of a drop-in holds it", func(t *testing.T) {
		long(t)
		output(t, g, "touch /run/hold")
		edit(t, g, "web", app("r2"))
		waitFor(t, g, time.Minute, "test -d /run/held")
		replaced := revisionName(t, g, "current")
		edit(t, g, "web", app("r3"))
		waitFor(t, g, time.Minute, `cd /etc/service-manager/revisions/web && test "$(readlink good)" = "$(readlink current)" && systemctl is-active "web@$(basename "$(readlink good)" .json)"`)
		output(t, g, "systemctl show -P SubState web@"+replaced+" | grep -x start-post && rm /run/hold")
		gone(t, replaced)
		settled(t, g, "r3")
	})
	t.Run("stopped while a step of a drop-in holds it", func(t *testing.T) {
		// The step ends well when it is stopped, and systemd continues with the next.
		output(t, g, "rm -rf /run/held && touch /run/hold")
		edit(t, g, "web", app("r4"))
		waitFor(t, g, time.Minute, "test -d /run/held")
		stopped := revisionName(t, g, "current")
		good := revisionName(t, g, "good")
		output(t, g, "systemctl stop web@"+stopped)
		if now := revisionName(t, g, "good"); now != good {
			t.Errorf("good is %s, and was %s", now, good)
		}
		if left := output(t, g, "find /run/service-manager/web -name '"+stopped+"*' ! -name '*.stopped'"); left != "" {
			t.Errorf("left: %s", left)
		}
		// That it was stopped is forgotten as soon as sm-settle has seen it.
		waitFor(t, g, time.Minute, "test -z \"$(find /run/service-manager/web -name '"+stopped+"*')\"")
		if refused := output(t, g, "journalctl -u web@"+stopped+" -o cat"); !strings.Contains(refused, "add 172.17") || !strings.Contains(refused, "the unit is being stopped") {
			t.Errorf("traffic was not refused: %s", refused)
		}
		output(t, g, "rm /run/hold && systemctl start web@"+stopped)
		settled(t, g, "r4")
	})
	t.Run("dead, and its address is the next one's", func(t *testing.T) {
		output(t, g, "rm -r /run/held && touch /run/hold")
		edit(t, g, "web", app("r5"))
		waitFor(t, g, time.Minute, "test -d /run/held")
		dead := revisionName(t, g, "current")
		const addressOf = `. "/run/service-manager/web/%s.env" && echo $SM_CONTAINER_IP`
		was := output(t, g, fmt.Sprintf(addressOf, dead))
		output(t, g, "docker kill web."+dead)
		edit(t, g, "web", app("r6"))
		waitFor(t, g, time.Minute, `cd /etc/service-manager/revisions/web && test "$(readlink good)" = "$(readlink current)" && systemctl is-active "web@$(basename "$(readlink good)" .json)"`)
		if now := output(t, g, fmt.Sprintf(addressOf, revisionName(t, g, "good"))); now != was {
			t.Fatalf("the next container has %s and not %s: there is nothing to see here", now, was)
		}
		output(t, g, "systemctl show -P SubState web@"+dead+" | grep -x start-post && rm /run/hold")
		gone(t, dead)
		settled(t, g, "r6")
	})
	noneLost(t, "by revisions that were replaced", l.stop(t))
	checkOthers()
}
