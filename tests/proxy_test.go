//go:build machine

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

type proxy struct{ name, example, path, port string }

// proxies are programs of Debian in front of web, with the configuration that is
// recommended for each.
var proxies = []proxy{
	{"nginx", "nginx.conf", "/etc/nginx/conf.d/web.conf", "8081"},
	{"haproxy", "haproxy.cfg", "/etc/haproxy/haproxy.cfg", "8082"},
	{"caddy", "Caddyfile", "/etc/caddy/Caddyfile", "8083"},
}

// traefik is one that Debian does not have.
var traefik = proxy{"traefik", "traefik.yml", "/etc/traefik/web.yml", "8085"}

// traefikUnit starts it as its example says.
const traefikUnit = `[Service]
Type=notify
ExecStart=/usr/local/bin/traefik --entrypoints.web.address=:8085 --providers.file.filename=/etc/traefik/web.yml --global.checknewversion=false
`

// putTraefik installs Traefik in a machine.
func putTraefik(t *testing.T, g *vm.Guest) {
	t.Helper()
	cache, err := harness.NewCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	built, err := cache.Traefik(ctx(t, 30*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	output(t, g, "mkdir -p /etc/traefik\ncat > /etc/systemd/system/traefik.service <<'END'\n"+traefikUnit+"END\nsystemctl daemon-reload")
	if err := g.Put(ctx(t, 5*time.Minute), built, "/usr/local/bin/traefik"); err != nil {
		t.Fatal(err)
	}
	putConfiguration(t, g, traefik)
}

func putConfiguration(t *testing.T, g *vm.Guest, p proxy) {
	t.Helper()
	if err := g.Put(ctx(t, time.Minute), filepath.Join("..", "units", "examples", p.example), p.path); err != nil {
		t.Fatal(err)
	}
}

// keepingNginx is what nginx does without being told since 1.29.7: it keeps up to 32
// connections, of which a busy one lasts for an hour.
const keepingNginx = `upstream keeping { server 172.17.0.1:7001; keepalive 32; }
server {
  listen 8084;
  location / { proxy_pass http://keeping; proxy_http_version 1.1; proxy_set_header Connection ""; }
}
`

// behindProxies is a machine with proxies in front of web.
func behindProxies(t *testing.T) *vm.Guest {
	t.Helper()
	g := start(t, installed(t, bookworm), vm.Options{})
	for _, p := range proxies {
		putConfiguration(t, g, p)
	}
	output(t, g, "cat > /etc/nginx/conf.d/keeping.conf <<'END'\n"+keepingNginx+"END\nrm -f /etc/nginx/sites-enabled/default")
	return g
}

// No client of a proxy notices a rollout, whether it may ask a second time or not, and no
// request is made twice.
func TestProxies(t *testing.T) {
	medium(t)
	g := behindProxies(t)
	behind := func(revision string) definition { return app(revision).With("drain_timeout", "30s") }
	first(t, g, behind("r0"), "r0")
	rollouts, proxies := 20, proxies
	if !*longTests {
		rollouts, proxies = 1, proxies[:2]
	} else { // it takes minutes to build
		putTraefik(t, g)
		proxies = append(proxies[:len(proxies):len(proxies)], traefik)
	}
	var all []func()
	for _, p := range proxies {
		output(t, g, "systemctl start "+p.name)
		waitFor(t, g, time.Minute, "curl -fsS -m 5 http://127.0.0.1:"+p.port+"/")
		for _, method := range []string{"GET", "POST"} {
			args := []string{"--connections-per-second", "1", "--keep-alive", "1", "--keep-alive-pause", "250ms", "http://127.0.0.1:" + p.port + "/"}
			if method == "POST" {
				args = append([]string{"--post"}, args...)
			}
			l := startLoad(t, g, "", args...)
			all = append(all, func() {
				report := l.stop(t)
				noneLost(t, method+" through "+p.name, report)
				if report.Total.Retried > 0 {
					t.Errorf("%s through %s: %d requests were sent again by the client", method, p.name, report.Total.Retried)
				}
				for i := range rollouts + 1 {
					if report.Revisions[fmt.Sprintf("r%d", i)] == nil {
						t.Errorf("%s through %s: no answer of r%d", method, p.name, i)
					}
				}
				t.Logf("FIGURE %d rollouts, %s through %s: %d sent, %d lost, %d sent again by the client, slowest connect %.2fs", rollouts, method, p.name,
					report.Total.Sent, report.Total.Lost, report.Total.Retried, report.Total.SlowestConnect)
			})
		}
	}
	for i := 1; i <= rollouts; i++ {
		revision := fmt.Sprintf("r%d", i)
		edit(t, g, "web", behind(revision))
		answers(t, g, revision)
		settled(t, g, revision)
	}
	for _, stop := range all {
		stop()
	}
	twice := output(t, g, `journalctl -o cat | grep -o 'request "[0-9]*"' | sort > /tmp/requests; wc -l < /tmp/requests; uniq -d /tmp/requests | wc -l`)
	t.Logf("FIGURE POST requests that reached the application, and those of them that did so twice: %s", strings.Join(strings.Fields(twice), ", "))
	if f := strings.Fields(twice); f[0] == "0" || f[1] != "0" {
		t.Errorf("of %s requests %s reached the application twice", f[0], f[1])
	}
	if cut := output(t, g, "journalctl -o cat | grep -c 'time is up' || true"); cut != "0" {
		t.Errorf("%s drains took their whole time", cut)
	}
}

// A proxy that keeps its connections delays a drain that waits for their end, and not one
// that waits for answers.
func TestProxyKeepsConnections(t *testing.T) {
	long(t)
	g := behindProxies(t)
	until := func(revision, until string) definition {
		d := app(revision).With("drain", map[string]string{"timeout": "20s", "until": until})
		delete(d, "drain_timeout")
		return d
	}
	first(t, g, until("r0", "closed"), "r0")
	output(t, g, "systemctl start nginx")
	// ended returns how many seconds after the last request through nginx the application
	// of the replaced revision was stopped, and what the client saw.
	ended := func(next definition, revision string) (seconds float64, seen traffic.Report) {
		t.Helper()
		l := startLoad(t, g, "", "--connections-per-second", "0", "--keep-alive", "4", "--keep-alive-pause", "100ms", "--slow", "1", "--slow-for", "3s", "http://127.0.0.1:8084/")
		old := revisionName(t, g, "good")
		edit(t, g, "web", next)
		answers(t, g, revision)
		seen = l.stop(t)
		last := number(t, output(t, g, "date +%s.%N"))
		settled(t, g, revision)
		told := number(t, output(t, g, "journalctl -o short-unix -u web@"+old+" | grep -F 'shutting down gracefully' | cut -d' ' -f1"))
		return told - last, seen
	}
	for i, replaced := range []string{"closed", "answered"} {
		revision := "r" + strconv.Itoa(i+1)
		seconds, report := ended(until(revision, "answered"), revision)
		noneLost(t, "until "+replaced, report)
		t.Logf("FIGURE until %s: the old revision ended %.1fs after the last request", replaced, seconds)
	}
	if n := output(t, g, "journalctl -o cat | grep -c 'time is up after 20s' || true"); n != "1" {
		t.Errorf("%s drains took their whole time; want 1, that until closed", n)
	}
}
