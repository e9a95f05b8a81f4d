//go:build machine

package tests

import (
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// withBundle starts a machine that has the product only as /root/bundle.
func withBundle(t testing.TB) *vm.Guest {
	t.Helper()
	g := start(t, base(t, bookworm), vm.Options{})
	if err := g.Put(ctx(t, 2*time.Minute), bundle(t), "/root/bundle"); err != nil {
		t.Fatal(err)
	}
	return g
}

// places lists all files where software and its settings are, except for
// definitions, and what systemd has made of them.
const places = `{ find /etc /usr /opt /lib/systemd /var/lib/systemd/deb-systemd-helper-enabled -xdev \( -path /etc/service-manager -prune \) -o \( -type f -o -type l \) -printf '%p %s %l\n'
find /run/systemd/generator* /run/systemd/transient /run/service-manager -printf '%p %l\n'
systemctl list-units --all --plain --no-legend 'sm-*' '*@*manager*' service-manager.target | awk '{print $1, $2}'
systemctl list-unit-files --no-legend 'sm-*' 'service-manager*'; } 2>/dev/null | grep -v -e ssh | sort`

// Installing, updating and removing, on a host that serves.
func TestInstall(t *testing.T) {
	long(t)
	g := withBundle(t)
	output(t, g, places+" > /root/before")
	output(t, g, "/root/bundle/install.sh")
	first(t, g, app("r0"), "r0")
	container := output(t, g, "docker ps -q")
	invocation := output(t, g, "systemctl show -P InvocationID web@manager 'web@"+revisionName(t, g, "good")+"'")
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "--slow", "1", "--slow-for", "5s", "http://"+address+"/")

	unchanged := func(t *testing.T) {
		t.Helper()
		settled(t, g, "r0")
		if now := output(t, g, "docker ps -q"); now != container {
			t.Errorf("container %s became %s", container, now)
		}
		if now := output(t, g, "systemctl show -P InvocationID web@manager 'web@"+revisionName(t, g, "good")+"'"); now != invocation {
			t.Error("the units were started again")
		}
	}
	t.Run("a second time", func(t *testing.T) {
		installed := output(t, g, places)
		settings := output(t, g, "cat /etc/service-manager/service-manager.conf")
		output(t, g, "/root/bundle/install.sh")
		unchanged(t)
		if now := output(t, g, places); now != installed {
			t.Errorf("files differ:\n%s\nbefore:\n%s", now, installed)
		}
		if now := output(t, g, "cat /etc/service-manager/service-manager.conf"); now != settings {
			t.Errorf("the settings became:\n%s", now)
		}
	})
	t.Run("a newer one", func(t *testing.T) {
		// A byte after the end of an executable changes the file and not what it does.
		output(t, g, `set -e
cp -r /root/bundle /root/newer
for file in /root/newer/bin/*; do echo >> $file; done
/root/newer/install.sh
for file in /root/newer/bin/sm-*; do cmp $file /usr/local/bin/${file##*/}; done
cmp /root/newer/bin/service-manager-generator /etc/systemd/system-generators/service-manager-generator`)
		unchanged(t)
		if exe := output(t, g, "readlink /proc/$(systemctl show -P MainPID sm-fetch)/exe; cmp /proc/$(systemctl show -P MainPID sm-fetch)/exe /root/newer/bin/sm-fetch"); exe != "/usr/local/bin/sm-fetch" {
			t.Errorf("sm-fetch runs from %s", exe)
		}
		// The old program waits for the old container, the new ones take over.
		edit(t, g, "web", app("r1"))
		settled(t, g, "r1")
	})
	t.Run("to another prefix", func(t *testing.T) {
		output(t, g, "/root/bundle/install.sh --prefix /opt/service-manager")
		settled(t, g, "r1")
		if left := output(t, g, "ls -d /usr/local/bin/sm-* /usr/local/share/man/man8/sm-* 2>/dev/null || true"); left != "" {
			t.Errorf("left in the old place: %s", left)
		}
		edit(t, g, "web", app("r2"))
		settled(t, g, "r2")
		if old := output(t, g, `grep -l /usr/local/bin /run/systemd/generator/*.service /etc/systemd/system/s*m*.service || true
test "$(readlink /proc/$(systemctl show -P MainPID sm-fetch)/exe)" = /opt/service-manager/bin/sm-fetch || echo sm-fetch
test "$(readlink /proc/$(systemctl show -P MainPID web@`+revisionName(t, g, "good")+`)/exe)" = /opt/service-manager/bin/sm-docker-run || echo sm-docker-run`); old != "" {
			t.Errorf("still of the old prefix: %s", old)
		}
		// Without a prefix it is updated where it is.
		output(t, g, "/root/newer/install.sh && cmp /root/newer/bin/sm-ipvs /opt/service-manager/bin/sm-ipvs")
		// The same place under another name is no old place.
		output(t, g, "/root/newer/install.sh --prefix /opt/./service-manager/ && cmp /root/newer/bin/sm-ipvs /opt/service-manager/bin/sm-ipvs")
	})
	noneLost(t, "through every installation", l.stop(t))

	t.Run("removed", func(t *testing.T) {
		// A runner without its manager is one, too.
		edit(t, g, "lone", app("lone").With("address", "172.17.0.1:7002"))
		waitFor(t, g, 2*time.Minute, "test -L /etc/service-manager/revisions/lone/good && test $(systemctl list-jobs --no-legend | wc -l) = 0")
		output(t, g, "systemctl stop lone@manager && systemctl start lone@$(basename $(readlink /etc/service-manager/revisions/lone/good) .json)")
		slow := sendLoad(t, g, "", "--connections-per-second", "0", "--keep-alive", "0", "--slow", "2", "--slow-for", "4s", "--for", "900ms", "http://"+address+"/")
		waitFor(t, g, time.Minute, bothUnderWay)
		definitions := output(t, g, "cd /etc/service-manager && find services revisions -type f -exec md5sum {} + -o -type l -printf '%p %l\\n' | sort")
		// Another generator's unit is not ours, whatever it is called.
		output(t, g, `cd /etc/systemd/system-generators
cat > other <<'END'
#!/bin/sh
printf '[Service]\nExecStart=sleep infinity\n' > "$1/other@manager.service"
END
chmod +x other && systemctl daemon-reload && systemctl start other@manager`)
		output(t, g, `printf '[Service]\nExecStart=sm-ipvs check 172.17.0.1:7001\n' > /etc/systemd/system/mine.service`)
		out := output(t, g, "/root/bundle/install.sh --uninstall")
		t.Log(out)
		if !strings.Contains(out, "fail without them: /etc/systemd/system/mine.service") {
			t.Error("no word of a unit that names a helper")
		}
		output(t, g, "rm /etc/systemd/system/mine.service")
		output(t, g, "systemctl is-active other@manager && systemctl stop other@manager && rm /etc/systemd/system-generators/other && systemctl daemon-reload")
		noneLost(t, "requests under way when it was removed", slow.wait(t))
		nothingLeft(t, g)
		output(t, g, places+" > /root/after")
		if left := output(t, g, "diff /root/before /root/after || true"); left != "" {
			t.Errorf("not as before the installation:\n%s", left)
		}
		if now := output(t, g, "cd /etc/service-manager && find services revisions -type f -exec md5sum {} + -o -type l -printf '%p %l\\n' | sort"); now != definitions {
			t.Errorf("definitions and revisions became:\n%s\nbefore:\n%s", now, definitions)
		}
	})
	t.Run("removed again", func(t *testing.T) {
		output(t, g, "/root/bundle/install.sh --uninstall")
		output(t, g, places+" > /root/after")
		if left := output(t, g, "diff /root/before /root/after || true"); left != "" {
			t.Errorf("not as before the installation:\n%s", left)
		}
	})
	t.Run("back again", func(t *testing.T) {
		output(t, g, "rm /etc/service-manager/services/lone.json; /root/bundle/install.sh")
		waitFor(t, g, 2*time.Minute, "! test -e /etc/service-manager/revisions/lone")
		settled(t, g, "r2")
	})
}
