//go:build machine

package tests

import (
	"fmt"
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

// refuses runs a command line of install.sh that must end with that exit status
// and say all of these.
func refuses(t testing.TB, g *vm.Guest, command string, status int, says ...string) {
	t.Helper()
	r, err := g.Run(ctx(t, time.Minute), command)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != status {
		t.Errorf("%s: exit status %d, want %d", command, r.ExitCode, status)
	}
	for _, part := range says {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("%s: %q is not in:\n%s", command, part, r.Stderr)
		}
	}
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
		// A byte behind an executable changes it and not what it does.
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
		// The same place by another name is no old place.
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

// What a host lacks is said before anything is changed.
func TestInstallRefuses(t *testing.T) {
	long(t) // tests/native has it for each run
	g := withBundle(t)
	output(t, g, places+" > /root/before")
	const install = "/root/bundle/install.sh"
	t.Run("not root", func(t *testing.T) {
		output(t, g, "cp -r /root/bundle /tmp/bundle && chmod -R go+rX /tmp/bundle")
		for _, arguments := range []string{"", " --uninstall"} {
			refuses(t, g, "setpriv --reuid 65534 --regid 65534 --clear-groups /tmp/bundle/install.sh"+arguments, 1, "install.sh: this needs root; run it with sudo")
		}
	})
	t.Run("wrong usage", func(t *testing.T) {
		refuses(t, g, install+" --prefix opt", 2, "--prefix must be an absolute path (got opt)", "Usage:")
		refuses(t, g, install+" --prefix '/opt/a b'", 2, "(got /opt/a b)")
		refuses(t, g, install+" --prefix", 2, "--prefix needs a folder")
		refuses(t, g, install+" now", 2, "unknown argument now")
		if out := output(t, g, install+" --help"); !strings.Contains(out, "--uninstall") {
			t.Errorf("help: %s", out)
		}
	})
	const (
		masked   = "docker.service is masked, so no container can run; unmask it: systemctl unmask docker.service"
		noDocker = "Docker is not installed as docker.service; on Debian: apt install docker.io"
		noIPVS   = "the kernel has no IPVS: 'modprobe ip_vs' fails"
	)
	// Debian has a System V script, too, which systemd would make a unit of.
	docker := output(t, g, "systemctl show -P FragmentPath docker.service")
	hide := map[string]string{
		masked:   "systemctl mask --runtime docker.service",
		noDocker: fmt.Sprintf("mv %s /root/docker.service && mv /etc/init.d/docker /root/docker.init && systemctl daemon-reload", docker),
		noIPVS:   "{ ! lsmod | grep -q '^ip_vs ' || modprobe -r ip_vs_rr ip_vs; } && echo 'install ip_vs /bin/false' > /etc/modprobe.d/none.conf",
	}
	show := map[string]string{
		masked:   "systemctl unmask --runtime docker.service",
		noDocker: fmt.Sprintf("mv /root/docker.service %s && mv /root/docker.init /etc/init.d/docker && systemctl daemon-reload", docker),
		noIPVS:   "rm /etc/modprobe.d/none.conf",
	}
	for _, c := range []struct {
		name    string
		missing []string
	}{
		{"without Docker", []string{noDocker}},
		{"with Docker masked", []string{masked}},
		{"without IPVS", []string{noIPVS}},
		{"without both", []string{noDocker, noIPVS}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range c.missing {
				output(t, g, hide[m])
			}
			refuses(t, g, install, 1, c.missing...)
			for _, m := range c.missing {
				output(t, g, show[m])
			}
		})
	}
	output(t, g, places+" > /root/after")
	if left := output(t, g, "diff /root/before /root/after; ls -d /etc/service-manager 2>/dev/null || true"); left != "" {
		t.Errorf("refused, and yet it has changed:\n%s", left)
	}
	output(t, g, install) // now that nothing is missing
}
