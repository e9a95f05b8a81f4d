//go:build machine

package tests

import (
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// The demo that anyone may run reports no loss, and the broken revision.
func TestDemo(t *testing.T) {
	long(t)
	base(t, bookworm) // the build is not part of the time below
	cmd := exec.CommandContext(ctx(t, 20*time.Minute), "./install.sh", "--demo")
	cmd.Dir = ".."
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its machine
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^ +requests +[1-9][0-9,]+ sent, 0 lost$`,
		`(?m)^ +answers +[1-9][0-9,]* of revision one, [1-9][0-9,]* of two, 0 of three$`,
		`(?m)^ +edit to first answer +[0-9.]+ s, of which Docker took [0-9.]+ s`,
		`(?m)^ +revision two +is good, and served on while three failed$`,
		`(?s)revision three +rejected: web\.3-[0-9a-f]+…: exited with status 1:.*80800`,
		`(?m)^ +nginx, revision two$`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the demo does not print %s", want)
		}
	}
	if regexp.MustCompile(`\x1b|\r`).Match(out) {
		t.Error("the demo prints control characters where there is no terminal")
	}
}
