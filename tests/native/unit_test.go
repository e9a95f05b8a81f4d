//go:build native

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"service-manager/tests/harness"
)

// The service as a unit among others: what an operator sees and does.
func TestUnits(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		container := "docker ps -q"

		t.Run("verify", func(t *testing.T) {
			m.edit(t, "web", app("r1", "APP_START_DELAY=2s"))
			m.waitFor(t, patience, "test $(ls /run/systemd/generator/web@*.service | wc -l) = 3")
			if out := m.output(t, "systemd-analyze --man=no verify /run/systemd/generator/web@*.service /etc/systemd/system/sm-*.service /etc/systemd/system/service-manager.target 2>&1"); out != "" {
				t.Errorf("systemd-analyze verify: %s", out)
			}
			m.settled(t, "web", "r1")
		})
		t.Run("journal", func(t *testing.T) {
			m.waitFor(t, patience, "journalctl --no-pager -u web@"+m.revision(t, "web", "good")+" | grep 'app r1: listening'")
		})
		t.Run("slice", func(t *testing.T) {
			// That of the runner, system-web.slice, is stopped when a shutdown begins.
			if out := m.output(t, "systemctl show -P Slice docker-$(docker ps -q --no-trunc --filter name=web).scope"); out != "system.slice" {
				t.Errorf("the container is in %s", out)
			}
		})
		t.Run("a restart of the manager interrupts nothing", func(t *testing.T) {
			before := m.output(t, container)
			m.output(t, "systemctl restart web@manager")
			m.settled(t, "web", "r1")
			if after := m.output(t, container); after != before {
				t.Errorf("container %s became %s", before, after)
			}
		})
		t.Run("a runner stopped by hand stays stopped", func(t *testing.T) {
			unit := "web@" + m.revision(t, "web", "good")
			m.output(t, "systemctl stop "+unit+" && systemctl daemon-reload && systemctl daemon-reload")
			if state := m.show(t, unit, "ActiveState"); state != "inactive" {
				t.Errorf("the runner is %s", state)
			}
			m.output(t, "systemctl start "+unit)
			m.settled(t, "web", "r1")
		})
		t.Run("stop and start", func(t *testing.T) {
			m.output(t, "systemctl stop web@manager")
			m.nothingLeft(t)
			m.edit(t, "web", app("r2"))
			m.waitFor(t, patience, "readlink /etc/service-manager/revisions/web/current | grep ^3- && ls /run/systemd/generator/web@3-*.service")
			if n := m.output(t, "systemctl list-jobs --no-legend | wc -l; docker ps -aq | wc -l"); n != "0\n0" {
				t.Errorf("a new revision started a service that was stopped: %s", n)
			}
			m.output(t, "systemctl start web@manager && sm-ipvs check 172.17.0.1:7001")
			m.settled(t, "web", "r2")
		})
		t.Run("another's units of that name are let alone", func(t *testing.T) {
			// As a service called postgresql has them beside it on Debian.
			const other = "web@15-main.service"
			m.output(t, "systemd-run --quiet --unit "+other+" sleep infinity")
			m.edit(t, "web", app("r3"))
			m.settled(t, "web", "r3")
			m.output(t, "systemctl stop web@manager && systemctl is-active "+other+" && systemctl start web@manager")
			m.edit(t, "web", app("r2"))
			m.settled(t, "web", "r2")
			m.output(t, "systemctl stop "+other)
		})
		t.Run("a dependent unit starts when the service serves, and stops first", func(t *testing.T) {
			m.output(t, `systemctl stop web@manager
cat > /etc/systemd/system/dependent.service <<'END'
[Unit]
Wants=web@manager.service
After=web@manager.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sm-ipvs check 172.17.0.1:7001
ExecStop=sm-ipvs check 172.17.0.1:7001
ExecStop=touch /run/dependent-saw-it-stop
END
systemctl daemon-reload && systemctl start dependent && systemctl is-active dependent`)
			m.output(t, "systemctl stop dependent web@manager && test -e /run/dependent-saw-it-stop")
			m.nothingLeft(t)
			m.output(t, "systemctl start web@manager")
			m.settled(t, "web", "r2")
		})
		t.Run("a reload alone applies what is on disk", func(t *testing.T) {
			m.output(t, "systemctl stop sm-fetch")
			const rev = "9-0123456789abcdef0123456789abcdef"
			m.output(t, fmt.Sprintf(`cd /etc/service-manager/revisions/web
cat > %s.json <<'END'
%s
END
ln -sfn %s.json new && mv -T new current && systemctl daemon-reload`, rev, app("r9").JSON(t), rev))
			m.waitFor(t, patience, "test $(docker ps -q | wc -l) = 1; docker ps --format '{{.Names}}' | grep -x web."+rev)
			m.output(t, "systemctl start sm-fetch")
		})
		t.Run("a deleted service is gone", func(t *testing.T) {
			m.output(t, "rm /etc/service-manager/services/web.json")
			m.gone(t, "web")
			m.nothingLeft(t)
			m.first(t, "web", app("again"))
		})
	})
}

// A runner with connections is drained before it stops, and the next one serves
// meanwhile.
func TestDrain(t *testing.T) {
	standIn(t)
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0").With("drain_timeout", "10m"))
		old := m.revision(t, "web", "good")
		destination := m.output(t, ". /run/service-manager/web/"+old+".env; echo $SM_CONTAINER_IP:80")
		m.active(t, destination, 2)
		m.edit(t, "web", app("r1"))
		m.waitFor(t, patience, "systemctl show -P StatusText web@"+old+" | grep 'draining "+destination+": 2 active connections'")
		m.active(t, destination, 1)
		m.waitFor(t, patience, "systemctl show -P StatusText web@"+old+" | grep 'draining "+destination+": 1 active connection,'")
		if weights := m.output(t, "sm-ipvs list --json 172.17.0.1:7001 | jq -c '[.[].destinations[].weight] | sort'"); weights != "[0,1]" {
			t.Errorf("the weights are %s", weights)
		}
		m.active(t, destination, 0)
		m.settled(t, "web", "r1")
	})
}

// Whatever a definition contains arrives in the container as it is, and nowhere
// else.
func TestHostileDefinition(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		d, values := harness.Hostile()
		m.first(t, "web", d)
		harness.CheckHostile(t, values, func(script string) string { return m.output(t, script) })
	})
}

// example puts a file of units/examples into the machine.
func (m *machine) example(t testing.TB, name, path string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "units", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.PutFile(ctx(t, patience), path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The units that are composed by hand do what they say about themselves.
func TestExampleUnits(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		for _, name := range []string{"shop@.service", "cache.service"} {
			m.example(t, name, "/etc/systemd/system/"+name)
		}
		m.output(t, "systemctl daemon-reload")
		if out := m.output(t, "systemd-analyze --man=no verify /etc/systemd/system/shop@.service /etc/systemd/system/cache.service 2>&1"); out != "" {
			t.Errorf("systemd-analyze verify: %s", out)
		}
		t.Run("shop", func(t *testing.T) { shop(t, m) })
		t.Run("cache", func(t *testing.T) { cache(t, m) })
		t.Run("a container of a user's", func(t *testing.T) {
			// A user of Docker may not be allowed to signal what runs in a container.
			m.output(t, `systemd-run --quiet --unit plain --service-type=notify -p NotifyAccess=exec -p User=nobody -p SupplementaryGroups=docker \
	/usr/local/bin/sm-docker-run run --unit plain.service --name plain app:1`)
			m.waitFor(t, patience, `test "$(cat /proc/$(systemctl show -P MainPID plain)/comm)" = sm-docker-run && tr '\0' '\n' < /proc/$(systemctl show -P MainPID plain)/environ | grep ^SM_DOCKER_RUN_WAIT=`)
			if out := m.output(t, "docker ps --format '{{.Names}}'; systemctl stop plain; systemctl is-failed plain || true"); out != "plain\ninactive" {
				t.Errorf("running, and then stopped: %q", out)
			}
			m.output(t, "docker rm plain")
		})
	})
}

func shop(t *testing.T, m *machine) {
	// alone is a script that succeeds when that version is all there is.
	alone := func(version string) string {
		return strings.ReplaceAll(`test "$(docker ps -a --filter name=shop --format '{{.Names}} {{.State}}')" = "shop-VERSION running"
. /run/shop-VERSION.env
test "$(sm-ipvs list --json 172.17.0.1:7100 | jq -r '.[].destinations[] | "\(.address) \(.weight)"')" = "$SM_CONTAINER_IP:80 1"
curl -fsS -m 5 http://$SM_CONTAINER_IP/ | grep -x 'revision VERSION'
`, "VERSION", version)
	}
	m.output(t, "systemctl enable --now shop@1")
	m.waitFor(t, patience, alone("1"))
	// The line of the unit's own comment.
	m.output(t, "systemctl start shop@2 && systemctl disable --now shop@1 && systemctl enable shop@2")
	m.waitFor(t, patience, alone("2")+`
test ! -e /run/shop-1.env
test "$(systemctl is-enabled shop@1 shop@2 | xargs)" = "disabled enabled"
test "$(systemctl show -P ActiveState shop@1)" = inactive`)

	t.Run("killed", func(t *testing.T) {
		for _, kill := range []string{
			"kill -9 $(docker inspect -f '{{.State.Pid}}' shop-2)",
			"systemctl kill --kill-whom=main -s KILL shop@2",
		} {
			container := m.output(t, "docker ps -q --no-trunc --filter name=shop-2")
			m.output(t, kill)
			m.waitFor(t, patience, "test \"$(docker ps -q --no-trunc --filter name=shop-2)\" != "+container+"\nsystemctl is-active shop@2\n"+alone("2"))
		}
	})
	t.Run("a version that there is not", func(t *testing.T) {
		// It is tried until it is stopped: such a unit has no memory.
		if out, status := m.try(t, "systemctl start shop@nowhere"); status == 0 {
			t.Errorf("systemctl start succeeded: %s", out)
		}
		m.output(t, "systemctl stop shop@nowhere")
		m.waitFor(t, patience, alone("2"))
	})
	t.Run("stopped", func(t *testing.T) {
		m.output(t, "systemctl disable --now shop@2")
		if left := m.output(t, "docker ps -aq; sm-ipvs list; ls /run | grep shop || true"); left != "" {
			t.Errorf("left over: %s", left)
		}
	})
}

func cache(t *testing.T, m *machine) {
	// It takes its time, or a unit that did not wait for it would pass, too.
	m.output(t, `set -e
mkdir -p /etc/systemd/system/cache.service.d
{ echo '[Service]'; echo ExecStart=; sed -n 's/^ExecStart=.* run /&--env APP_START_DELAY=2s /p' /etc/systemd/system/cache.service; } > /etc/systemd/system/cache.service.d/slow.conf
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
	if out := m.output(t, "cat /run/reader-saw"); !strings.HasPrefix(out, "revision") {
		t.Errorf("the unit that is ordered after the cache read %q", out)
	}
	before := m.output(t, "docker ps -q --filter name=cache")
	m.output(t, "docker kill -s KILL cache")
	m.waitFor(t, patience, `test "$(docker ps -q --filter name=cache)" != `+before+`
systemctl is-active cache
. /run/cache.env
curl -fsS -m 5 http://$SM_CONTAINER_IP:6379/`)
	m.output(t, "systemctl stop cache")
	if left := m.output(t, "docker ps -aq; ls /run/cache.env 2>/dev/null || true"); left != "" {
		t.Errorf("left over: %s", left)
	}
}

// Drop-ins for the units of a service with a definition.
func TestDropIns(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		good := m.revision(t, "web", "good")
		m.example(t, "10-warm.conf", "/etc/systemd/system/web@runner.service.d/10-warm.conf")
		m.output(t, "systemctl daemon-reload")
		m.settled(t, "web", "r0") // what runs is left alone

		t.Run("a further check that fails", func(t *testing.T) {
			// Only pages below /slow are there.
			m.edit(t, "web", app("bad", "APP_HEALTH=never").With("health_check", map[string]any{"path": "/slow?for=0s"}))
			bad := m.next(t, "web", good)
			m.waitFor(t, patience, "systemctl show -P ExecStartPost web@"+bad+" | grep sm-rollout") // it was reloaded
			if out := m.output(t, "systemctl show -P ExecStartPost web@"+bad+` | sed 's/.*argv\[\]=\([^;]*\) ;.*/\1/'`); !inOrder(out,
				"sm-healthcheck", "/slow?for=0s", "sm-healthcheck", ":80/start", "sm-ipvs add", "sm-rollout accept") {
				t.Errorf("the commands of the runner:\n%s", out)
			}
			m.waitFor(t, 2*patience, "test -s /run/service-manager/web/"+bad+".failed; systemctl is-failed web@"+bad)
			reason := m.output(t, "cat /run/service-manager/web/"+bad+".failed")
			for _, part := range []string{"not healthy after 30s: GET http://172.17.0.", ":80/start: 503"} {
				if !strings.Contains(reason, part) {
					t.Errorf("the reason has no %q: %s", part, reason)
				}
			}
			m.serves(t, "web", "r0")
		})
		t.Run("a further check that succeeds", func(t *testing.T) {
			m.edit(t, "web", app("r1"))
			m.settled(t, "web", "r1")
		})
		t.Run("for manager and runners", func(t *testing.T) {
			m.output(t, `mkdir -p /etc/systemd/system/web@.service.d
printf '[Unit]\nDocumentation=https://wiki.example/web\n' > /etc/systemd/system/web@.service.d/wiki.conf
systemctl daemon-reload`)
			if out := m.output(t, "systemctl show -P Documentation web@manager web@"+m.revision(t, "web", "good")+" | xargs"); out != "https://wiki.example/web https://wiki.example/web" {
				t.Errorf("documentation: %s", out)
			}
			m.edit(t, "web", app("r2"))
			m.settled(t, "web", "r2")
		})
		t.Run("another slice for runners", func(t *testing.T) {
			m.output(t, `printf '[Service]\nSlice=shop.slice\n' > /etc/systemd/system/web@runner.service.d/20-slice.conf
systemctl daemon-reload`)
			m.edit(t, "web", app("r3"))
			m.settled(t, "web", "r3")
			if out := m.output(t, "systemctl show -P Slice web@"+m.revision(t, "web", "good")+" web@manager | xargs"); out != "shop.slice system-web.slice" {
				t.Errorf("slices of the runner and the manager: %s", out)
			}
			if out := m.output(t, "systemd-cgls --no-pager /shop.slice"); !strings.Contains(out, "sm-docker-run run") || !strings.Contains(out, "/app") {
				t.Errorf("in the runner's slice:\n%s", out)
			}
		})
		t.Run("verify", func(t *testing.T) {
			if out := m.output(t, "systemd-analyze --man=no verify /run/systemd/generator/web@*.service 2>&1"); out != "" {
				t.Errorf("systemd-analyze verify: %s", out)
			}
		})
		t.Run("removed", func(t *testing.T) {
			m.output(t, "rm -r /etc/systemd/system/web@runner.service.d /etc/systemd/system/web@.service.d && systemctl daemon-reload")
			m.settled(t, "web", "r3")
			m.edit(t, "web", app("r4"))
			m.settled(t, "web", "r4")
		})
	})
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
