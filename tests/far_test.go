//go:build machine

package tests

import (
	"fmt"
	"testing"
	"time"

	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

// Rollout after rollout, under clients that are 20 ms and 200 ms away and lose packets,
// some of which may not ask twice, directly and through an nginx that keeps its
// connections.
func TestFarClients(t *testing.T) {
	long(t)
	const rollouts = 100
	g := behindProxies(t)
	// Requests keep coming on the connections that nginx keeps, so a drain takes its whole time.
	answered := func(revision string) definition {
		d := app(revision).With("drain", map[string]string{"timeout": "10s", "until": "answered"})
		delete(d, "drain_timeout")
		return d
	}
	first(t, g, answered("r0"), "r0")
	output(t, g, "systemctl start nginx")
	type client struct {
		what, prefix string
		args         []string
		mayLose      bool
		sum          traffic.Counts
	}
	var all []*client
	for i, away := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
		name, network := fmt.Sprintf("far%d", i), fmt.Sprintf("10.98.%d", i)
		addFarClient(t, g, name, network, away)
		for _, method := range []string{"GET", "POST"} {
			for path, to := range map[string]string{"directly": address, "through nginx": network + ".1:8084"} {
				// The pause is long enough to count as answered.
				args := []string{"--connections-per-second", "1", "--keep-alive", "1", "--keep-alive-pause", "3s"}
				if method == "POST" {
					args = append(args, "--post")
				}
				if method == "POST" && path == "directly" {
					// A server closes idle connections when it is stopped. What a client
					// asks on one just then it has to ask again, which it may not do
					// here.
					args = append(args, "--keep-alive", "0")
				}
				all = append(all, &client{what: fmt.Sprintf("%s %s from %s away", method, path, away), prefix: "ip netns exec " + name,
					args: append(args, "http://"+to+"/"), mayLose: method == "POST" && path != "directly"})
			}
		}
	}
	// A load is bounded in time, so one follows another.
	const atATime = 20
	for done := 0; done < rollouts; {
		var loads []*load
		for _, c := range all {
			loads = append(loads, startLoad(t, g, c.prefix, c.args...))
		}
		for range atATime {
			done++
			revision := fmt.Sprintf("r%d", done)
			edit(t, g, "web", answered(revision))
			answers(t, g, revision)
			settled(t, g, revision)
		}
		for i, c := range all {
			report := loads[i].stop(t)
			if !c.mayLose {
				noneLost(t, c.what, report)
			}
			c.sum.Sent += report.Total.Sent
			c.sum.Lost += report.Total.Lost
			c.sum.Retried += report.Total.Retried
			c.sum.SlowestConnect = max(c.sum.SlowestConnect, report.Total.SlowestConnect)
		}
		t.Logf("%d rollouts done", done)
	}
	for _, c := range all {
		t.Logf("FIGURE %d rollouts, %s: %d sent, %d lost, %d sent again by the client, slowest connect %.2fs", rollouts, c.what,
			c.sum.Sent, c.sum.Lost, c.sum.Retried, c.sum.SlowestConnect)
	}
}

// An application that ignores SIGTERM, one that exits at once and one whose requests take
// 30 s follow one another: every client that has asked gets its answer.
func TestImpoliteApplications(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	patient := func(revision string, settings ...string) definition {
		return app(revision, settings...).With("drain_timeout", "60s")
	}
	first(t, g, patient("r0"), "r0")
	checkOthers := otherClients(t, g)
	l := startLoad(t, g, "", "--connections-per-second", "5", "--keep-alive", "0", "--slow", "0.5", "--slow-for", "30s", "http://"+address+"/")
	for _, next := range []definition{
		patient("ignores", "APP_SHUTDOWN=ignore"), patient("exits", "APP_SHUTDOWN=at-once"), patient("answers"), patient("last"),
	} {
		revision := next["environment"].(map[string]string)["APP_REVISION"]
		edit(t, g, "web", next)
		answers(t, g, revision)
		// Its requests are under way when the next one comes.
		waitFor(t, g, time.Minute, "test $(ipvsadm -Ln | awk '/Masq +[1-9]/ {n = $5} END {print n+0}') -ge 5")
	}
	settled(t, g, "last")
	report := l.stop(t)
	noneLost(t, "requests of 30 seconds and short ones", report)
	checkOthers()
	t.Logf("FIGURE three impolite applications in a row: %d requests of 30s sent, %d lost; %d short ones sent, %d lost", report.Slow.Sent, report.Slow.Lost, report.New.Sent, report.New.Lost)
}
