//go:build machine

package tests

import (
	"fmt"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// With the kernel's own table: what another program deletes is back before clients have
// given up, what is unhealthy gets no requests, and what is not ours is left alone.
func TestWatch(t *testing.T) {
	medium(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	const shop = "172.17.0.1:7100"
	example(t, g, "shop@.service", "/etc/systemd/system/shop@.service")
	output(t, g, "systemctl daemon-reload; systemctl start shop@1 shop@2")
	const foreign = "-A -t 10.0.0.9:80 -s wlc\n-a -t 10.0.0.9:80 -r 10.0.0.10:80 -m -w 7"
	output(t, g, "ipvsadm -A -t 10.0.0.9:80 -s wlc; ipvsadm -a -t 10.0.0.9:80 -r 10.0.0.10 -m -w 7")
	weights := func(one, two int) string {
		return fmt.Sprintf(`weight() { (. /run/shop-$1.env; ipvsadm -Ln -t %s | awk -v to=$SM_CONTAINER_IP:80 '$2 == to {print $4}'); }
test "$(weight 1) $(weight 2)" = "%d %d"`, shop, one, two)
	}

	for name, remove := range map[string]string{
		"the destinations":                        "ipvsadm -D -t " + shop,
		"the nftables table":                      "nft delete table ip service-manager",
		"both, by the ways that clear everything": "ipvsadm -C; nft flush ruleset; ipvsadm -A -t 10.0.0.9:80 -s wlc; ipvsadm -a -t 10.0.0.9:80 -r 10.0.0.10 -m -w 7",
	} {
		took := output(t, g, fmt.Sprintf(`set -e
nft -s list table ip service-manager > /tmp/before
%s
begin=$EPOCHREALTIME
until ipvsadm -Ln -t %s 2>/dev/null | grep -q Masq && nft -s list table ip service-manager 2>/dev/null > /tmp/after; do sleep 0.02; done
echo $(( (${EPOCHREALTIME/./} - ${begin/./}) / 1000 ))`, remove, shop))
		waitFor(t, g, time.Minute, weights(1, 1)+"\nnft -s list table ip service-manager | diff /tmp/before -")
		t.Logf("FIGURE deleted were %s: back after %s ms", name, took)
	}

	took := output(t, g, fmt.Sprintf(`begin=$EPOCHREALTIME
ipvsadm -a -t %[1]s -r 172.17.0.99:80 -m
while ipvsadm -Ln -t %[1]s | grep -qF 172.17.0.99; do sleep 0.02; done
echo $(( (${EPOCHREALTIME/./} - ${begin/./}) / 1000 ))`, shop))
	t.Logf("FIGURE a destination that ipvsadm has added: gone after %s ms", took)

	// Probes use no port of a client: its connection, which the kernel remembers, would
	// count as open again.
	if out := output(t, g, `set -e
before=$(cat /proc/sys/net/ipv4/ip_local_port_range)
echo 40000 40015 > /proc/sys/net/ipv4/ip_local_port_range
for i in $(seq 12); do curl -fsS -m 5 -o /dev/null http://`+shop+`/; done
for n in 1 2; do (. /run/shop-$n.env; for i in $(seq 12); do sm-healthcheck --hold 0 --timeout 10s tcp://$SM_CONTAINER_IP:80; done); done >/dev/null
echo $before > /proc/sys/net/ipv4/ip_local_port_range
grep -c TIME_WAIT /proc/net/ip_vs_conn; grep SYN_SENT /proc/net/ip_vs_conn || true`); out != "12" {
		t.Errorf("after 12 connections and 24 probes the kernel remembers: %s", out)
	}

	output(t, g, "docker kill -s USR1 shop-1")
	waitFor(t, g, time.Minute, weights(0, 1))
	if out := output(t, g, "for i in $(seq 30); do curl -fsS -m 5 http://"+shop+"/; done | sort | uniq -c | xargs"); out != "30 revision 2" {
		t.Errorf("30 requests beside one that is unhealthy: %s", out)
	}
	output(t, g, "docker kill -s USR2 shop-1")
	waitFor(t, g, time.Minute, weights(1, 1))

	// The first process of a container dies, and clients that come then get an answer
	// from the other one.
	if out := output(t, g, `kill -9 $(docker inspect -f '{{.State.Pid}}' shop-1)
for i in $(seq 20); do curl -fsS -m 5 --retry 3 --retry-connrefused http://`+shop+`/; done | grep -c .`); out != "20" {
		t.Errorf("of 20 clients that came after a container had died, %s got an answer", out)
	}
	waitFor(t, g, 2*time.Minute, weights(1, 1))

	output(t, g, "systemctl stop shop@1 shop@2")
	if out := output(t, g, "ipvsadm -Sn"); out != foreign {
		t.Errorf("of another program's was left:\n%s\nwant\n%s", out, foreign)
	}
	if out := output(t, g, "journalctl -b -o cat -u sm-watch -p warning"); out != "" {
		t.Errorf("sm-watch warns: %s", out)
	}
	if !*longTests {
		return
	}
	// Its memory, with very many of them.
	const many = 10_000
	t.Logf("FIGURE sm-watch with %d virtual services, and before: %s", many, output(t, g, fmt.Sprintf(`set -e
pid=$(systemctl show -P MainPID sm-watch)
memory() { awk '/^Rss:/ {r=$2} /^Private_Dirty:/ {p=$2} END {printf "%%.1f MB resident, %%.1f of them private; ", r/1024, p/1024}' /proc/$pid/smaps_rollup; }
before=$(memory)
cd /run/service-manager/ipvs
for i in $(seq %d); do printf '\nrr 1 %%s\n' "$(readlink /proc/self/ns/net)" > "172.17.0.1:$((10000 + i))_172.17.0.9:80"; done
until [ $(grep -c ^TCP /proc/net/ip_vs) -ge %[1]d ]; do sleep 1; done
begin=$(awk '{print $14+$15}' /proc/$pid/stat); sleep 30; end=$(awk '{print $14+$15}' /proc/$pid/stat)
memory; echo "$before$((end - begin)) hundredths of a processor's second in 30 seconds"`, many)))
}
