//go:build native

package native

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An unhealthy destination rests, a deleted one comes back, and one that has ended
// leaves, even if what watches over that is killed meanwhile.
func TestWatch(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.example(t, "shop@.service", "/etc/systemd/system/shop@.service")
		m.output(t, "systemctl daemon-reload && systemctl start shop@1 shop@2")
		// weights is a script that succeeds when the two have these.
		weights := func(one, two int) string {
			return fmt.Sprintf(`(
for n in 1 2; do . /run/shop-$n.env; eval "ip$n=$SM_CONTAINER_IP"; done
test "$(sm-ipvs list --json 172.17.0.1:7100 | jq -r '.[].destinations[] | "\(.address) \(.weight)"' | sort)" = "$(printf '%%s\n' "$ip1:80 %d" "$ip2:80 %d" | sort)")`, one, two)
		}
		signal := func(n int, name string) { m.output(t, fmt.Sprintf("docker kill -s %s shop-%d", name, n)) }
		const unwell, better = "USR1", "USR2"
		m.waitFor(t, patience, weights(1, 1))

		scene(t, "unhealthy", func(t *testing.T) {
			signal(1, unwell)
			m.waitFor(t, patience, weights(0, 1)+"\nsystemctl show -P StatusText sm-watch | grep -x 'watching 2 containers, unhealthy: shop-1'")
			m.waitFor(t, patience, "journalctl -o cat -u sm-watch | grep -E '^shop-1: unhealthy: GET http://[0-9.]+:80/: 503 Service Unavailable \\(3 in a row\\)$'")
			signal(2, unwell)
			m.waitFor(t, patience, "journalctl -o cat -u sm-watch | grep -x 'shop-2: keeps its connections at 172.17.0.1:7100: no other one gets any'\n"+weights(0, 1))
		})
		scene(t, "killed", func(t *testing.T) {
			m.output(t, "systemctl kill -s KILL sm-watch")
			signal(1, better)
			m.waitFor(t, patience, weights(1, 0))
		})
		scene(t, "stopped", func(t *testing.T) {
			// As an update does: what rests keeps resting, from the first moment on.
			m.output(t, "systemctl restart sm-watch\n"+weights(1, 0))
			m.output(t, "systemctl stop sm-watch\n"+weights(1, 1))
			m.output(t, "systemctl start sm-watch")
			m.waitFor(t, patience, weights(1, 0))
			// That which is left gets them again, healthy or not.
			m.output(t, "systemctl stop shop@1")
			m.waitFor(t, patience, `. /run/shop-2.env; test "$(sm-ipvs list --json 172.17.0.1:7100 | jq -r '.[].destinations[] | "\(.address) \(.weight)"')" = "$SM_CONTAINER_IP:80 1"`)
			m.output(t, "systemctl start shop@1")
			m.waitFor(t, patience, weights(1, 0))
			signal(2, better)
			m.waitFor(t, patience, weights(1, 1))
		})
		t.Run("deleted by another program", func(t *testing.T) {
			standIn(t)
			m.output(t, "rm /run/ipvs-table/table.json")
			took := m.waitFor(t, patience, weights(1, 1))
			t.Logf("FIGURE put back after %.1fs", took.Seconds())
		})
		scene(t, "restarted by docker", func(t *testing.T) {
			container := m.output(t, "docker ps -q --no-trunc --filter name=shop-2")
			m.output(t, "docker restart shop-2")
			m.waitFor(t, patience, weights(1, 1)+"\ncurl -fsS -m 5 http://$(. /run/shop-2.env; echo $SM_CONTAINER_IP)/")
			if now := m.output(t, "docker ps -q --no-trunc --filter name=shop-2"); now != container {
				t.Logf("another container was started instead of %s: %s", container, now)
			}
			signal(2, unwell)
			m.waitFor(t, patience, weights(1, 0))
			signal(2, better)
			m.waitFor(t, patience, weights(1, 1))
		})
		scene(t, "the unit fails to remove it", func(t *testing.T) {
			i := m.inject(t, fault{Helper: "sm-ipvs", Verb: "remove", Unit: "shop@1*", What: kill, Always: true})
			m.output(t, "systemctl kill --kill-whom=main -s KILL shop@1; systemctl stop shop@1")
			m.waitFor(t, patience, `. /run/shop-2.env; test "$(sm-ipvs list --json 172.17.0.1:7100 | jq -r '.[].destinations[] | "\(.address) \(.weight)"')" = "$SM_CONTAINER_IP:80 1"`)
			i.remove(t)
			// Also what is noted of it, half a minute later.
			m.waitFor(t, 2*patience, "test $(ls /run/service-manager/ipvs | wc -l) = 1; test $(ls /run/service-manager/containers | wc -l) = 2")
			m.output(t, "systemctl start shop@1")
			m.waitFor(t, patience, weights(1, 1))
		})
		t.Run("restart_after", func(t *testing.T) {
			m.first(t, "web", app("r0").With("health_check", map[string]any{"failures": 2, "restart_after": "1s"}))
			before := m.output(t, "docker ps -q --no-trunc --filter name=web")
			m.output(t, "docker kill -s "+unwell+" "+before)
			m.waitFor(t, patience, "test $(docker ps -q --no-trunc --filter name=web) != "+before)
			m.settled(t, "web", "r0")
			m.waitFor(t, patience, "journalctl -o cat -u sm-watch | grep -E '^web[.]1-[0-9a-f]+: unhealthy for [0-9]+s: restarting web@1-[0-9a-f]+.service$'")
		})
		t.Run("nothing is left", func(t *testing.T) {
			m.output(t, "systemctl stop shop@1 shop@2 web@manager")
			if left := m.output(t, "sm-ipvs list; ls /run/service-manager/ipvs"); left != "" {
				t.Errorf("left over: %s", left)
			}
			if out := m.output(t, "journalctl -o cat -u sm-watch -p warning"); strings.Contains(out, "sm-healthcheck:") {
				t.Errorf("warnings: %s", out)
			}
		})
	})
}

// How long a container that is killed keeps getting connections.
func TestKills(t *testing.T) {
	long(t)
	standIn(t)
	alone(t, func(t *testing.T, release string) {
		m := start(t, release)
		const kills = 200
		m.output(t, `cat > /etc/systemd/system/victim.service <<'END'
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=exec
Restart=always
RestartSec=100ms
Environment=SM_CONTAINER_IP=
EnvironmentFile=-/run/victim.env
ExecStart=sm-docker-run run --unit %n --name victim --record /run/victim.env app:1
ExecStartPost=sm-healthcheck --failures 3 http://${SM_CONTAINER_IP}:80/
ExecStartPost=sm-ipvs add 172.17.0.1:7100 ${SM_CONTAINER_IP}:80
ExecStopPost=-sm-ipvs remove 172.17.0.1:7100 ${SM_CONTAINER_IP}:80
ExecStopPost=-sm-docker-run remove --name victim --record /run/victim.env
END
systemctl daemon-reload && systemctl start victim`)
		// times kills it so often, and returns how long it was still in the table each
		// time.
		times := func(n int) string {
			out := m.output(t, fmt.Sprintf(`set -e
table=/run/ipvs-table/table.json
for i in $(seq %d); do
	for try in $(seq 3000); do
		[ "$(systemctl show -P ActiveState victim)" = active ] && [[ $(<$table) = *'"Weight": 1'* ]] &&
			pid=$(docker inspect -f '{{.State.Pid}}' victim) && [ "$pid" -gt 0 ] && kill -0 $pid && break
		sleep 0.01
	done
	begin=$EPOCHREALTIME
	kill -9 $pid
	while read -rd '' text < $table || true; [[ $text = *'"Weight": 1'* ]]; do :; done
	echo $(( ${EPOCHREALTIME/./} - ${begin/./} ))
done`, n))
			var times []time.Duration
			for _, line := range strings.Fields(out) {
				micros, err := strconv.Atoi(line)
				if err != nil {
					t.Fatal(err)
				}
				times = append(times, time.Duration(micros)*time.Microsecond)
			}
			if len(times) != n {
				t.Fatalf("%d kills, want %d", len(times), n)
			}
			slices.Sort(times)
			return fmt.Sprintf("%d times: %s half of the time, %s in 99 of 100, %s at most", n, times[(n-1)/2], times[(n*99+99)/100-1], times[n-1])
		}
		t.Logf("FIGURE killed and out of the load balancer, %s", times(kills))
		m.output(t, "systemctl stop sm-watch")
		t.Logf("FIGURE the same without sm-watch, %s", times(kills/10))
	})
}
