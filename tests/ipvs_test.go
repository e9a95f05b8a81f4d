//go:build machine

package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// sm-ipvs has tests of its own that need a kernel with IPVS: they run in the
// machine.
func TestIPVS(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sm-ipvs.test")
	build := exec.CommandContext(interrupted, "go", "test", "-c", "-tags", "machine", "-o", binary, "../helpers/sm-ipvs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // the guest's C library may be older
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	t.Run("Debian 12", func(t *testing.T) { testIPVS(t, binary, bookworm) })
	t.Run("Debian 13", func(t *testing.T) {
		long(t)
		testIPVS(t, binary, trixie)
	})
}

func testIPVS(t *testing.T, binary, release string) {
	g := start(t, base(t, release), vm.Options{})
	if err := g.Put(ctx(t, time.Minute), binary, "/root/sm-ipvs.test"); err != nil {
		t.Fatal(err)
	}
	output(t, g, "modprobe ip_vs")
	short := ""
	if !*longTests {
		short = " -test.short"
	}
	tests := strings.Fields(output(t, g, "/root/sm-ipvs.test -test.list '^TestMachine'"))
	if len(tests) == 0 {
		t.Fatal("there are none")
	}
	for _, name := range tests {
		t.Run(strings.TrimPrefix(name, "TestMachine"), func(t *testing.T) {
			r, err := g.Run(ctx(t, 5*time.Minute), "/root/sm-ipvs.test -test.v -test.timeout 4m -test.run '^"+name+"$'"+short)
			if err != nil {
				t.Fatal(err)
			}
			if r.ExitCode != 0 || !strings.Contains(r.Stdout, "--- PASS: "+name+" (") {
				t.Errorf("exit status %d\n%s%s", r.ExitCode, r.Stdout, r.Stderr)
			}
			for _, line := range strings.Split(r.Stdout, "\n") {
				if _, figure, ok := strings.Cut(line, "FIGURE "); ok {
					t.Log("FIGURE " + figure)
				}
			}
		})
	}
}
