//go:build machine

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

// What it costs to run this: figures for people. Nothing here depends on the
// machine's speed.
func TestFigures(t *testing.T) {
	g := start(t, installed(t, bookworm), vm.Options{})
	first(t, g, app("r0"), "r0")

	t.Run("sizes", func(t *testing.T) {
		for _, line := range strings.Split(output(t, g, "stat -c '%s %n' /usr/local/bin/sm-* /etc/systemd/system-generators/service-manager-generator"), "\n") {
			var bytes int64
			var path string
			if _, err := fmt.Sscan(line, &bytes, &path); err != nil {
				t.Fatal(err)
			}
			t.Logf("FIGURE size of %s: %.1f MB", filepath.Base(path), float64(bytes)/1e6)
		}
	})
	t.Run("idle memory", func(t *testing.T) {
		for _, process := range []struct{ name, unit string }{
			{"sm-docker-run run", "web@" + revisionName(t, g, "good")},
			{"sm-fetch follow", "sm-fetch"},
		} {
			out := output(t, g, `pid=$(systemctl show -P MainPID `+process.unit+`)
tr '\0' ' ' < /proc/$pid/cmdline | grep -q '/`+process.name+` ' || { tr '\0' ' ' < /proc/$pid/cmdline; exit 1; }
awk '/^Private_Dirty:/ {print $2} /^Rss:/ {print $2}' /proc/$pid/smaps_rollup | xargs; ls /proc/$pid/task | wc -l`)
			var resident, dirty, threads int
			if _, err := fmt.Sscan(out, &resident, &dirty, &threads); err != nil || dirty == 0 {
				t.Fatalf("%s: %q: %v", process.name, out, err)
			}
			t.Logf("FIGURE idle memory of one %s: %.2f MB private dirty, %.1f MB resident, %d threads", process.name, float64(dirty)/1024, float64(resident)/1024, threads)
		}
	})
	t.Run("generator", func(t *testing.T) {
		measure := filepath.Join(t.TempDir(), "measure")
		build := exec.CommandContext(interrupted, "go", "build", "-o", measure, "./measure")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build: %v: %s", err, out)
		}
		if err := g.Put(ctx(t, time.Minute), measure, "/root/measure"); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 10, 100, 1000} {
			root := t.TempDir()
			for i := range n {
				harness.WriteService(t, filepath.Join(root, "etc/service-manager/revisions"), i)
			}
			output(t, g, "rm -rf /run/many; mkdir -p /run/many/out")
			if err := g.Put(ctx(t, 2*time.Minute), root, "/run/many"); err != nil {
				t.Fatal(err)
			}
			out := output(t, g, "/root/measure 3 /etc/systemd/system-generators/service-manager-generator --root /run/many /run/many/out")
			if units := output(t, g, "ls /run/many/out | grep -c '^service-[0-9]*@'"); units != fmt.Sprint(3*n) {
				t.Errorf("%s units for %d services, want three each", units, n)
			}
			t.Logf("FIGURE generator, %d services with two revisions each: %s", n, strings.Replace(out, " ", ", at most ", 1))
		}
	})
}
