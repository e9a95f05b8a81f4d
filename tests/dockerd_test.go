//go:build machine

package tests

import (
	"testing"
	"time"

	"service-manager/tests/vm"
)

// With live-restore, containers outlast their daemon: whatever becomes of it, clients
// notice nothing. Without it they end, and the service starts again by itself.
func TestDockerDaemon(t *testing.T) {
	long(t)
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")
	// Debian's docker.service may start only three times a minute.
	const again = "systemctl reset-failed docker.service; "
	faults := []struct{ name, script string }{
		{"killed", again + "systemctl kill --kill-whom=main -s KILL docker.service"},
		{"restarted", again + "systemctl restart docker.service"},
	}
	// daemonPID distinguishes one daemon from the next.
	daemonPID := func() string { return output(t, g, "systemctl show -P MainPID docker.service") }
	back := func(before string) string {
		return "systemctl is-active docker.service; test \"$(systemctl show -P MainPID docker.service)\" != " + before + "\n"
	}
	container := func() string { return output(t, g, "docker ps -q --filter label=service-manager.unit") }

	for _, fault := range faults {
		t.Run(fault.name+" without live-restore", func(t *testing.T) {
			daemon, before := daemonPID(), container()
			begin := time.Now()
			output(t, g, fault.script)
			waitFor(t, g, 3*time.Minute, back(daemon)+tidy+"test \"$(docker ps -q --filter label=service-manager.unit)\" != "+before+"\n"+answering("r0"))
			t.Logf("tidy again after %.1fs", time.Since(begin).Seconds())
		})
	}

	output(t, g, `jq '."live-restore" = true' /etc/docker/daemon.json > /etc/docker/daemon.json.new
mv /etc/docker/daemon.json.new /etc/docker/daemon.json
systemctl reload docker`)
	waitFor(t, g, 3*time.Minute, "docker info -f '{{.LiveRestoreEnabled}}' | grep true")
	l := startLoad(t, g, "", "--connections-per-second", "10", "--keep-alive", "4", "--slow", "1", "--slow-for", "8s", "http://"+address+"/")
	unit := "web@" + revisionName(t, g, "good")
	for _, fault := range faults {
		t.Run(fault.name+" with live-restore", func(t *testing.T) {
			daemon, before, runner := daemonPID(), container(), output(t, g, "systemctl show -P MainPID "+unit)
			output(t, g, fault.script)
			waitFor(t, g, 3*time.Minute, back(daemon)+tidy+answering("r0"))
			if now := container(); now != before {
				t.Errorf("container %s became %s", before, now)
			}
			if now := output(t, g, "systemctl show -P MainPID "+unit); now != runner {
				t.Errorf("the runner's main process %s became %s", runner, now)
			}
		})
	}
	t.Run("killed in a rollout with live-restore", func(t *testing.T) {
		daemon := daemonPID()
		edit(t, g, "web", app("r1", "APP_START_DELAY=3s"))
		waitFor(t, g, 3*time.Minute, "docker ps --format '{{.Names}}' | grep -c ^web | grep -x 2")
		output(t, g, faults[0].script)
		waitFor(t, g, 3*time.Minute, back(daemon)+tidy+answering("r1"))
	})
	noneLost(t, "while Docker's daemon came and went", l.stop(t))
	t.Run("the container's end is still seen", func(t *testing.T) {
		before := container()
		output(t, g, "kill -9 $(docker inspect -f '{{.State.Pid}}' "+before+")")
		waitFor(t, g, 3*time.Minute, tidy+"test \"$(docker ps -q --filter label=service-manager.unit)\" != "+before+"\n"+answering("r1"))
	})
}
