//go:build machine

package tests

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// example puts a file of units/examples into the guest.
func example(t testing.TB, g *vm.Guest, name, guestPath string) {
	t.Helper()
	if err := g.Put(ctx(t, time.Minute), filepath.Join("..", "units", "examples", name), guestPath); err != nil {
		t.Fatal(err)
	}
}

// The units that are composed by hand do what they say of themselves.
func TestExampleUnits(t *testing.T) {
	long(t) // tests/native has it for each run
	forReleases(t, func(t *testing.T, release string) {
		g := start(t, installed(t, release), vm.Options{})
		for _, name := range []string{"shop@.service", "cache.service"} {
			example(t, g, name, "/etc/systemd/system/"+name)
		}
		output(t, g, "systemctl daemon-reload")
		if out := output(t, g, "systemd-analyze --man=no verify /etc/systemd/system/shop@.service /etc/systemd/system/cache.service 2>&1"); out != "" {
			t.Errorf("systemd-analyze verify: %s", out)
		}
		t.Run("shop", func(t *testing.T) { shop(t, g) })
		t.Run("cache", func(t *testing.T) { cache(t, g) })
		t.Run("a container of a user's", func(t *testing.T) {
			// Who may use Docker may not signal what runs in a container.
			output(t, g, `systemd-run --quiet --unit plain --service-type=notify -p NotifyAccess=exec -p User=nobody -p SupplementaryGroups=docker \
	/usr/local/bin/sm-docker-run run --unit plain.service --name plain app:1`)
			waitFor(t, g, time.Minute, `test "$(cat /proc/$(systemctl show -P MainPID plain)/comm)" = sm-docker-run && tr '\0' '\n' < /proc/$(systemctl show -P MainPID plain)/environ | grep ^SM_DOCKER_RUN_WAIT=`)
			if out := output(t, g, "docker ps --format '{{.Names}}'; systemctl stop plain; systemctl is-failed plain || true"); out != "plain\ninactive" {
				t.Errorf("running, and then stopped: %q", out)
			}
			output(t, g, "docker rm plain")
		})
	})
}

func shop(t *testing.T, g *vm.Guest) {
	const shop = "172.17.0.1:7100"
	answer := func() string { return output(t, g, "curl -fsS -m 5 http://"+shop+"/") }
	// alone is a script that succeeds when that version is all there is.
	alone := func(version string) string {
		return fmt.Sprintf(`test "$(docker ps -a --filter name=shop --format '{{.Names}} {{.State}}')" = "shop-%s running"
. /run/shop-%[1]s.env
test "$(ipvsadm -Sn | grep -e '^-a')" = "-a -t %s -r $SM_CONTAINER_IP:80 -m -w 1"
curl -fsS -m 5 http://%[2]s/ | grep -x 'revision %[1]s'`, version, shop)
	}
	output(t, g, "systemctl enable --now shop@1")
	if out := answer(); out != "revision 1" {
		t.Fatalf("started, and answers %q", out)
	}
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "--slow", "1", "--slow-for", "3s", "http://"+shop+"/")
	// The line of the unit's own comment.
	begin := time.Now()
	output(t, g, "systemctl start shop@2 && systemctl disable --now shop@1 && systemctl enable shop@2")
	t.Logf("version 1 became version 2 in %.1fs", time.Since(begin).Seconds())
	report := l.stop(t)
	noneLost(t, "while version 1 became version 2", report)
	if report.Revisions["1"] == nil || report.Revisions["2"] == nil {
		t.Errorf("answers of both versions: %+v", report.Revisions)
	}
	waitFor(t, g, time.Minute, alone("2")+`
test ! -e /run/shop-1.env
test "$(systemctl is-enabled shop@1 shop@2 | xargs)" = "disabled enabled"
test "$(systemctl show -P ActiveState shop@1)" = inactive`)

	t.Run("killed", func(t *testing.T) {
		for _, kill := range []string{
			"kill -9 $(docker inspect -f '{{.State.Pid}}' shop-2)",
			"systemctl kill --kill-whom=main -s KILL shop@2",
		} {
			container := output(t, g, "docker ps -q --no-trunc --filter name=shop-2")
			output(t, g, kill)
			took := waitFor(t, g, 2*time.Minute, "test \"$(docker ps -q --no-trunc --filter name=shop-2)\" != "+container+"\nsystemctl is-active shop@2\n"+alone("2"))
			t.Logf("%s: serves again after %.1fs", kill, took.Seconds())
		}
	})
	t.Run("a version that there is not", func(t *testing.T) {
		l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+shop+"/")
		// It is tried until somebody stops it: such a unit has no memory.
		r, err := g.Run(ctx(t, 5*time.Minute), "systemctl start shop@nowhere")
		if err != nil || r.ExitCode == 0 {
			t.Errorf("systemctl start: exit status %d, %v", r.ExitCode, err)
		}
		output(t, g, "systemctl stop shop@nowhere")
		noneLost(t, "while another version failed", l.stop(t))
		waitFor(t, g, time.Minute, alone("2"))
	})
	t.Run("stopped", func(t *testing.T) {
		output(t, g, "systemctl disable --now shop@2")
		if left := output(t, g, "docker ps -aq; ipvsadm -Sn; ls /run | grep shop || true"); left != "" {
			t.Errorf("left over: %s", left)
		}
	})
}

func cache(t *testing.T, g *vm.Guest) {
	// It takes its time, or a unit that did not wait for it would pass, too.
	output(t, g, `set -e
mkdir -p /etc/systemd/system/cache.service.d
{ echo '[Service]'; echo ExecStart=; sed -n 's/^ExecStart=.* run /&--env APP_START_DELAY=4s /p' /etc/systemd/system/cache.service; } > /etc/systemd/system/cache.service.d/slow.conf
grep -q APP_START_DELAY /etc/systemd/system/cache.service.d/slow.conf
cat > /etc/systemd/system/reader.service <<'END'
[Unit]
Wants=cache.service
After=cache.service
[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/run/cache.env
ExecStart=curl -fsS -m 2 -o /run/reader-saw http://${SM_CONTAINER_IP}:6379/
END
systemctl daemon-reload
systemctl start reader`)
	if out := output(t, g, "cat /run/reader-saw"); !strings.HasPrefix(out, "revision") {
		t.Errorf("the unit that is ordered after the cache read %q", out)
	}
	before := output(t, g, "docker ps -q --filter name=cache")
	output(t, g, "docker kill -s KILL cache")
	waitFor(t, g, 2*time.Minute, `test "$(docker ps -q --filter name=cache)" != `+before+`
systemctl is-active cache
. /run/cache.env
curl -fsS -m 5 http://$SM_CONTAINER_IP:6379/`)
	output(t, g, "systemctl stop cache")
	if left := output(t, g, "docker ps -aq; ls /run/cache.env 2>/dev/null || true"); left != "" {
		t.Errorf("left over: %s", left)
	}
}

// Drop-ins for the units of a service with a definition.
func TestDropIns(t *testing.T) {
	long(t) // tests/native has it for each run
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	good := revisionName(t, g, "good")
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "http://"+address+"/")
	example(t, g, "10-warm.conf", "/etc/systemd/system/web@runner.service.d/10-warm.conf")
	output(t, g, "systemctl daemon-reload")
	settled(t, g, "r0") // what runs is left alone

	t.Run("a further check that fails", func(t *testing.T) {
		// Only pages below /slow are there.
		edit(t, g, "web", app("bad", "APP_HEALTH=never").With("health_check", map[string]any{"path": "/slow?for=0s"}))
		waitFor(t, g, time.Minute, "test $(readlink /etc/service-manager/revisions/web/current) != "+good+".json")
		bad := revisionName(t, g, "current")
		if out := output(t, g, "systemctl show -P ExecStartPost web@"+bad+` | sed 's/.*argv\[\]=\([^;]*\) ;.*/\1/'`); !inOrder(out,
			"sm-healthcheck", "/slow?for=0s", "sm-healthcheck", ":80/start", "sm-ipvs add", "sm-rollout accept") {
			t.Errorf("the commands of the runner:\n%s", out)
		}
		waitFor(t, g, 3*time.Minute, "test -s /run/service-manager/web/"+bad+".failed && systemctl is-failed web@"+bad)
		reason := output(t, g, "cat /run/service-manager/web/"+bad+".failed")
		for _, part := range []string{"not healthy after 30s: GET http://172.17.0.", ":80/start: 503"} {
			if !strings.Contains(reason, part) {
				t.Errorf("the reason has no %q: %s", part, reason)
			}
		}
		if now := revisionName(t, g, "good"); now != good {
			t.Errorf("good is %s, want %s", now, good)
		}
		waitFor(t, g, time.Minute, "test \"$(docker ps -aq --filter label=service-manager.unit | wc -l)\" = 1\ntest \"$(ipvsadm -Ln | grep -c Masq)\" = 1\n"+answering("r0"))
	})
	t.Run("a further check that succeeds", func(t *testing.T) {
		edit(t, g, "web", app("r1"))
		settled(t, g, "r1")
	})
	t.Run("for manager and runners", func(t *testing.T) {
		output(t, g, `mkdir -p /etc/systemd/system/web@.service.d
printf '[Unit]\nDocumentation=https://wiki.example/web\n' > /etc/systemd/system/web@.service.d/wiki.conf
systemctl daemon-reload`)
		if out := output(t, g, "systemctl show -P Documentation web@manager web@"+revisionName(t, g, "good")+" | xargs"); out != "https://wiki.example/web https://wiki.example/web" {
			t.Errorf("documentation: %s", out)
		}
		edit(t, g, "web", app("r2"))
		settled(t, g, "r2")
	})
	t.Run("another slice for runners", func(t *testing.T) {
		output(t, g, `printf '[Service]\nSlice=shop.slice\n' > /etc/systemd/system/web@runner.service.d/20-slice.conf
systemctl daemon-reload`)
		edit(t, g, "web", app("r3"))
		settled(t, g, "r3")
		if out := output(t, g, "systemctl show -P Slice web@"+revisionName(t, g, "good")+" web@manager | xargs"); out != "shop.slice system-web.slice" {
			t.Errorf("slices of the runner and the manager: %s", out)
		}
		if out := output(t, g, "systemd-cgls --no-pager /shop.slice"); !strings.Contains(out, "sm-docker-run run") || !strings.Contains(out, "/app") {
			t.Errorf("in the runner's slice:\n%s", out)
		}
	})
	t.Run("verify", func(t *testing.T) {
		if out := output(t, g, "systemd-analyze --man=no verify /run/systemd/generator/web@*.service 2>&1"); out != "" {
			t.Errorf("systemd-analyze verify: %s", out)
		}
	})
	t.Run("removed", func(t *testing.T) {
		output(t, g, "rm -r /etc/systemd/system/web@runner.service.d /etc/systemd/system/web@.service.d && systemctl daemon-reload")
		settled(t, g, "r3")
		edit(t, g, "web", app("r4"))
		settled(t, g, "r4")
	})
	noneLost(t, "with drop-ins", l.stop(t))
}

// inOrder reports whether the text has the parts one after the other.
func inOrder(text string, parts ...string) bool {
	for _, part := range parts {
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return true
}
