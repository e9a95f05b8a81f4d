//go:build native

package native

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"service-manager/tests/harness"
)

// What it costs to run this, in one run, side by side: figures for people, and
// true only of a quiet host. Nothing here depends on the host's speed.
func TestFigures(t *testing.T) {
	alone(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		var figures []string
		figure := func(name, format string, args ...any) {
			figures = append(figures, fmt.Sprintf("%-80s %s", name, fmt.Sprintf(format, args...)))
		}
		figure("seconds of docker run, to the first answer", "%s", m.output(t, `for i in 1 2 3 4 5; do
begin=$(date +%s%N)
docker run -d --name plain app:1 >/dev/null
ip=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' plain)
until curl -fsS -m 2 -o /dev/null http://$ip/ 2>/dev/null; do sleep 0.01; done
echo $begin $(date +%s%N) | awk '{printf "%.2f ", ($2-$1)/1e9}'
docker rm -f plain >/dev/null
done`))
		var rollouts []string
		for i := 1; i <= 5; i++ {
			revision := fmt.Sprintf("r%d", i)
			rollouts = append(rollouts, m.output(t, fmt.Sprintf(`cd /etc/service-manager
printf '%%s' '%s' > services/web.json.new
was=$(readlink revisions/web/current) begin=$(date +%%s%%N)
mv services/web.json.new services/web.json
until now=$(readlink revisions/web/current) && [ $now != $was ] && [ -e /run/service-manager/web/${now%%.json}.env ] &&
  . /run/service-manager/web/${now%%.json}.env 2>/dev/null && [ -n "$SM_CONTAINER_IP" ] && sm-ipvs list | grep -q " $SM_CONTAINER_IP:80 *1 "; do sleep 0.01; done
echo $begin $(date +%%s%%N) | awk '{printf "%%.2f", ($2-$1)/1e9}'`, app(revision).JSON(t))))
			m.settled(t, "web", revision)
		}
		figure("seconds from the edit to traffic, of which 2 are the hold", "%s", strings.Join(rollouts, " "))
		figure("seconds of a daemon-reload", "%s", m.output(t, `for i in 1 2 3 4 5; do
begin=$(date +%s%N); systemctl daemon-reload; echo $begin $(date +%s%N) | awk '{printf "%.2f ", ($2-$1)/1e9}'; done`))
		for _, process := range []struct{ name, unit string }{
			{"sm-docker-run run", "web@" + m.revision(t, "web", "good")},
			{"sm-fetch follow", "sm-fetch"},
			{"sm-healthcheck watch", "sm-watch"},
		} {
			out := m.output(t, `pid=$(systemctl show -P MainPID `+process.unit+`)
tr '\0' ' ' < /proc/$pid/cmdline | grep -q '/`+process.name+` ' || { tr '\0' ' ' < /proc/$pid/cmdline; exit 1; }
awk '/^Private_Dirty:/ {print $2} /^Rss:/ {print $2}' /proc/$pid/smaps_rollup | xargs; ls /proc/$pid/task | wc -l`)
			var resident, dirty, threads int
			if _, err := fmt.Sscan(out, &resident, &dirty, &threads); err != nil || dirty == 0 {
				t.Fatalf("%s: %q: %v", process.name, out, err)
			}
			figure("idle memory of one "+process.name, "%.2f MB private dirty, %.1f MB resident, %d threads", float64(dirty)/1024, float64(resident)/1024, threads)
		}
		for _, line := range strings.Split(m.output(t, "stat -c '%s %n' /usr/local/bin/sm-* /etc/systemd/system-generators/service-manager-generator"), "\n") {
			var bytes int64
			var path string
			if _, err := fmt.Sscan(line, &bytes, &path); err != nil {
				t.Fatal(err)
			}
			figure("size of "+filepath.Base(path), "%.1f MB", float64(bytes)/1e6)
		}
		m.generator(t, figure)
		t.Logf("FIGURES of %s:\n%s", release, strings.Join(figures, "\n"))
	})
}

// generator measures the generator with ever more services.
func (m *machine) generator(t *testing.T, figure func(name, format string, args ...any)) {
	tools := t.TempDir()
	build := exec.CommandContext(interrupted, "go", "build", "-o", tools, "../measure", "../measure/copy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	for _, tool := range []string{"measure", "copy"} {
		if err := m.Put(ctx(t, patience), filepath.Join(tools, tool), "/root/"+tool); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 10, 100, 1000} {
		root := t.TempDir()
		for i := range n {
			harness.WriteService(t, filepath.Join(root, "etc/service-manager/revisions"), i)
		}
		m.output(t, "rm -rf /run/many; mkdir -p /run/many/out")
		if err := m.Put(ctx(t, patience), root, "/run/many"); err != nil {
			t.Fatal(err)
		}
		out := m.output(t, "/root/measure 9 /run/many/out /etc/systemd/system-generators/service-manager-generator --root /run/many /run/many/out")
		if units := m.output(t, "ls /run/many/out | grep -c '^service-[0-9]*@'"); units != fmt.Sprint(3*n) {
			t.Errorf("%s units for %d services, want three each", units, n)
		}
		figure(fmt.Sprintf("generator, %d services with two revisions each", n), "%s", strings.Replace(out, " ", ", at most ", 1))
		for atATime, how := range map[string]string{"1": "", "$(nproc)": ", side by side"} {
			copying := m.output(t, "/root/measure 9 /run/many/copy /root/copy "+atATime+" /run/many/etc/service-manager/revisions /run/many/copy $(stat -c %s /run/many/out/service-0@*)")
			figure(fmt.Sprintf("a program that only reads and writes as many files%s, %d services", how, n), "%s", strings.Replace(copying, " ", ", at most ", 1))
		}
	}
}
