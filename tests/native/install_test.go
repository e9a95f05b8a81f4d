//go:build native

package native

import (
	"fmt"
	"strings"
	"testing"

	"service-manager/tests/harness"
)

// withBundle starts a machine that has the product only as /root/bundle.
func withBundle(t testing.TB, release string) *machine {
	t.Helper()
	m := startFrom(t, base(t, release))
	if err := m.Put(ctx(t, patience), bundle(t), "/root/bundle"); err != nil {
		t.Fatal(err)
	}
	return m
}

// refuses runs a command line of install.sh that must end with that exit status
// and say all of these.
func (m *machine) refuses(t testing.TB, command string, status int, says ...string) {
	t.Helper()
	out, got := m.try(t, command)
	if got != status {
		t.Errorf("%s: exit status %d, want %d", command, got, status)
	}
	for _, part := range says {
		if !strings.Contains(out, part) {
			t.Errorf("%s: %q is not in:\n%s", command, part, out)
		}
	}
}

// places lists all files where software and its settings are, except for
// definitions, and what systemd has made of them.
const places = `{ find /etc /usr /opt /lib/systemd /var/lib/systemd/deb-systemd-helper-enabled -xdev \( -path /etc/service-manager -prune \) -o \( -type f -o -type l \) -printf '%p %s %l\n'
find /run/systemd/generator* /run/systemd/transient /run/service-manager -mindepth 1 -printf '%p %l\n'
systemctl list-units --all --plain --no-legend 'sm-*' '*@*manager*' service-manager.target | awk '{print $1, $2}'
systemctl list-unit-files --no-legend 'sm-*' 'service-manager*'; } 2>/dev/null | grep -v -e ssh | sort`

// definitions lists what an installation must keep.
const definitions = "cd /etc/service-manager && find services revisions -type f -exec md5sum {} + -o -type l -printf '%p %l\\n' | sort"

// Installing, updating and removing, on a host that serves.
func TestInstall(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := withBundle(t, release)
		m.output(t, places+" > /root/before")
		m.output(t, "/root/bundle/install.sh")
		m.first(t, "web", app("r0"))
		invocations := "docker ps -q; systemctl show -P InvocationID web@manager 'web@" + m.revision(t, "web", "good") + "'"
		was := m.output(t, invocations)
		unchanged := func(t *testing.T) {
			t.Helper()
			m.settled(t, "web", "r0")
			if now := m.output(t, invocations); now != was {
				t.Errorf("container and units are others:\n%s\nbefore:\n%s", now, was)
			}
		}
		t.Run("a second time", func(t *testing.T) {
			m.waitFor(t, patience, "systemctl is-active sm-fetch")
			installed := m.output(t, places)
			settings := m.output(t, "cat /etc/service-manager/service-manager.conf")
			m.output(t, "/root/bundle/install.sh")
			unchanged(t)
			if now := m.output(t, places); now != installed {
				t.Errorf("files differ:\n%s\nbefore:\n%s", now, installed)
			}
			if now := m.output(t, "cat /etc/service-manager/service-manager.conf"); now != settings {
				t.Errorf("the settings became:\n%s", now)
			}
		})
		t.Run("a newer one", func(t *testing.T) {
			// A byte after the end of an executable changes the file and not what it
			// does.
			m.output(t, `set -e
cp -r /root/bundle /root/newer
for file in /root/newer/bin/*; do echo >> $file; done
/root/newer/install.sh | grep 'installed .*, replacing '
for file in /root/newer/bin/sm-*; do cmp $file /usr/local/bin/${file##*/}; done
cmp /root/newer/bin/service-manager-generator /etc/systemd/system-generators/service-manager-generator`)
			unchanged(t)
			if exe := m.output(t, "readlink /proc/$(systemctl show -P MainPID sm-fetch)/exe; cmp /proc/$(systemctl show -P MainPID sm-fetch)/exe /root/newer/bin/sm-fetch"); exe != "/usr/local/bin/sm-fetch" {
				t.Errorf("sm-fetch runs from %s", exe)
			}
			// The old program waits for the old container, the new ones take over.
			m.edit(t, "web", app("r1"))
			m.settled(t, "web", "r1")
		})
		t.Run("needrestart leaves runners alone", func(t *testing.T) {
			m.output(t, `cat > /root/needrestart.pl <<'END'
our %nrconf;
defined do "/etc/needrestart/conf.d/service-manager.conf" or die;
my ($ours) = keys %{$nrconf{override_rc}};
my $rev = "2-" . "9ab0" x 8;
for ("web\@manager.service", "web\@$rev.service", "web\@$rev:2.service") { die "$_ is restarted" unless /$ours/ }
for ("sm-fetch.service", "postgresql\@15-main.service", "web\@$rev.service.d") { die "$_ is not restarted" if /$ours/ }
END
perl -w /root/needrestart.pl`)
		})
		t.Run("to another prefix", func(t *testing.T) {
			m.output(t, "/root/bundle/install.sh --prefix /opt/service-manager")
			m.settled(t, "web", "r1")
			if left := m.output(t, "ls -d /usr/local/bin/sm-* /usr/local/share/man/man8/sm-* 2>/dev/null || true"); left != "" {
				t.Errorf("left in the old place: %s", left)
			}
			m.edit(t, "web", app("r2"))
			m.settled(t, "web", "r2")
			if old := m.output(t, `grep -l /usr/local/bin /run/systemd/generator/*.service /etc/systemd/system/s*m*.service || true
test "$(readlink /proc/$(systemctl show -P MainPID sm-fetch)/exe)" = /opt/service-manager/bin/sm-fetch || echo sm-fetch
test "$(readlink /proc/$(systemctl show -P MainPID web@`+m.revision(t, "web", "good")+`)/exe)" = /opt/service-manager/bin/sm-docker-run || echo sm-docker-run`); old != "" {
				t.Errorf("still of the old prefix: %s", old)
			}
			// Without a prefix it is updated where it is.
			m.output(t, "/root/newer/install.sh && cmp /root/newer/bin/sm-ipvs /opt/service-manager/bin/sm-ipvs")
			// The same place under another name is no old place.
			m.output(t, "/root/newer/install.sh --prefix /opt/./service-manager/ && cmp /root/newer/bin/sm-ipvs /opt/service-manager/bin/sm-ipvs")
		})
		t.Run("removed", func(t *testing.T) {
			// A runner without its manager is one, too.
			m.edit(t, "lone", app("lone").With("address", "172.17.0.1:7002"))
			m.settled(t, "lone", "lone")
			m.output(t, "systemctl stop lone@manager && systemctl start lone@"+m.revision(t, "lone", "good"))
			kept := m.output(t, definitions)
			// Another generator's unit is not ours, whatever it is called.
			m.output(t, `cd /etc/systemd/system-generators
cat > other <<'END'
#!/bin/sh
printf '[Service]\nExecStart=sleep infinity\n' > "$1/other@manager.service"
END
chmod +x other && systemctl daemon-reload && systemctl start other@manager`)
			m.output(t, `printf '[Service]\nExecStart=sm-ipvs check 172.17.0.1:7001\n' > /etc/systemd/system/mine.service`)
			out := m.output(t, "/root/bundle/install.sh --uninstall")
			if !strings.Contains(out, "fail without them: /etc/systemd/system/mine.service") {
				t.Errorf("no word of a unit that names a helper: %s", out)
			}
			m.output(t, "rm /etc/systemd/system/mine.service")
			m.output(t, "systemctl is-active other@manager && systemctl stop other@manager && rm /etc/systemd/system-generators/other && systemctl daemon-reload")
			if left := m.output(t, `docker ps -aq; /root/bundle/bin/sm-ipvs list; ls -d /run/service-manager 2>/dev/null || true`); left != "" {
				t.Errorf("left over: %s", left)
			}
			m.asBefore(t)
			if now := m.output(t, definitions); now != kept {
				t.Errorf("definitions and revisions became:\n%s\nbefore:\n%s", now, kept)
			}
		})
		t.Run("removed again", func(t *testing.T) {
			m.output(t, "/root/bundle/install.sh --uninstall")
			m.asBefore(t)
		})
		t.Run("back again", func(t *testing.T) {
			m.output(t, "rm /etc/service-manager/services/lone.json; /root/bundle/install.sh")
			m.gone(t, "lone")
			m.settled(t, "web", "r2")
		})
	})
}

// asBefore checks that files and units are as /root/before has them.
func (m *machine) asBefore(t testing.TB) {
	t.Helper()
	m.output(t, places+" > /root/after")
	if left := m.output(t, "diff /root/before /root/after || true"); left != "" {
		t.Errorf("not as before the installation:\n%s", left)
	}
}

// What a host lacks is reported before anything is changed.
func TestInstallRefuses(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := withBundle(t, release)
		m.output(t, places+" > /root/before")
		const install = "/root/bundle/install.sh"
		t.Run("not root", func(t *testing.T) {
			m.output(t, "cp -r /root/bundle /tmp/bundle && chmod -R go+rX /tmp/bundle")
			for _, arguments := range []string{"", " --uninstall"} {
				m.refuses(t, "setpriv --reuid 65534 --regid 65534 --clear-groups /tmp/bundle/install.sh"+arguments, 1, "install.sh: error: this needs root\ninstall.sh: hint: run it with sudo")
			}
		})
		t.Run("wrong usage", func(t *testing.T) {
			m.refuses(t, install+" --prefix opt", 2, "--prefix must be an absolute path (got opt)", "Usage:")
			m.refuses(t, install+" --prefix '/opt/a b'", 2, "(got /opt/a b)")
			m.refuses(t, install+" --prefix", 2, "--prefix needs a folder")
			m.refuses(t, install+" now", 2, "unknown argument now")
			if out := m.output(t, install+" --help"); !strings.Contains(out, "--uninstall") {
				t.Errorf("help: %s", out)
			}
		})
		const (
			masked   = "docker.service is masked, so no container can run\ninstall.sh: hint: run systemctl unmask docker.service"
			noDocker = "Docker is not installed as docker.service\ninstall.sh: hint: on Debian, run apt install docker.io"
			noIPVS   = "the kernel has no IPVS: 'modprobe ip_vs' fails"
		)
		// Debian has a System V script, too, which systemd would make a unit of.
		docker := m.show(t, "docker.service", "FragmentPath")
		hide := map[string]string{
			masked:   "systemctl mask --runtime docker.service",
			noDocker: fmt.Sprintf("mv %s /root/docker.service && mv /etc/init.d/docker /root/docker.init && systemctl daemon-reload", docker),
			noIPVS:   "mv /usr/local/sbin/modprobe /root/",
		}
		show := map[string]string{
			masked:   "systemctl unmask --runtime docker.service",
			noDocker: fmt.Sprintf("mv /root/docker.service %s && mv /root/docker.init /etc/init.d/docker && systemctl daemon-reload", docker),
			noIPVS:   "mv /root/modprobe /usr/local/sbin/",
		}
		for _, c := range []struct {
			name    string
			missing []string
			ipvs    bool // it needs a kernel without IPVS
		}{
			{"without Docker", []string{noDocker}, false},
			{"with Docker masked", []string{masked}, false},
			{"without IPVS", []string{noIPVS}, true},
			{"without both", []string{noDocker, noIPVS}, true},
		} {
			if c.ipvs && harness.HasIPVS() {
				continue // seen in the virtual machine, where it can be unloaded
			}
			t.Run(c.name, func(t *testing.T) {
				for _, what := range c.missing {
					m.output(t, hide[what])
				}
				m.refuses(t, install, 1, c.missing...)
				for _, what := range c.missing {
					m.output(t, show[what])
				}
			})
		}
		m.asBefore(t)
		if left := m.output(t, "ls -d /etc/service-manager 2>/dev/null || true"); left != "" {
			t.Errorf("refused, and yet it has made %s", left)
		}
		m.output(t, install) // now that nothing is missing
	})
}
