//go:build machine

package tests

import (
	"path/filepath"
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

// A service without a definition, of units that are composed by hand, loses nothing
// either. tests/native has the rest of what these units do.
func TestExampleUnits(t *testing.T) {
	long(t)
	const shop = "172.17.0.1:7100"
	g := start(t, installed(t, bookworm), vm.Options{})
	example(t, g, "shop@.service", "/etc/systemd/system/shop@.service")
	output(t, g, "systemctl daemon-reload; systemctl enable --now shop@1")
	if out := output(t, g, "curl -fsS -m 5 http://"+shop+"/"); out != "revision 1" {
		t.Fatalf("started, and answers %q", out)
	}
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "4", "--slow", "1", "--slow-for", "3s", "http://"+shop+"/")
	// The line of the unit's own comment.
	begin := time.Now()
	output(t, g, "systemctl start shop@2 && systemctl disable --now shop@1 && systemctl enable shop@2")
	t.Logf("version 1 became version 2 in %.1fs", time.Since(begin).Seconds())
	if r, err := g.Run(ctx(t, 5*time.Minute), "systemctl start shop@nowhere"); err != nil || r.ExitCode == 0 {
		t.Errorf("systemctl start of a version that there is not: exit status %d, %v", r.ExitCode, err)
	}
	output(t, g, "systemctl stop shop@nowhere")
	report := l.stop(t)
	noneLost(t, "while version 1 became version 2, and another failed", report)
	if report.Revisions["1"] == nil || report.Revisions["2"] == nil {
		t.Errorf("answers of both versions: %+v", report.Revisions)
	}
	output(t, g, "systemctl disable --now shop@2")
	if left := output(t, g, "docker ps -aq; ipvsadm -Sn; ls /run | grep shop || true"); left != "" {
		t.Errorf("left over: %s", left)
	}
}
