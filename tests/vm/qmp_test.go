package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"service-manager/tests/harness"
)

// qemuSays returns a monitor whose other end answers each command with the next
// of the answers, and the commands it got.
func qemuSays(t *testing.T, answers ...string) (*monitor, <-chan string) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	commands := make(chan string, 100)
	go func() {
		fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		in := bufio.NewScanner(theirs)
		for _, answer := range append([]string{`{"return": {}}`}, answers...) {
			if !in.Scan() {
				return
			}
			commands <- in.Text()
			fmt.Fprintln(theirs, answer)
		}
		in.Scan()
	}()
	m, err := newMonitor(context.Background(), ours)
	if err != nil {
		t.Fatal(err)
	}
	<-commands
	return m, commands
}

func TestMonitorSavesAndLoads(t *testing.T) {
	ctx := context.Background()
	m, commands := qemuSays(t,
		`{"event": "STOP", "timestamp": {}}`+"\n"+`{"return": {}}`, // stop
		`{"return": {}}`, // migrate-set-capabilities
		`{"return": {}}`, // migrate
		`{"return": {"status": "active"}}`,
		`{"return": {"status": "completed"}}`,
	)
	if err := m.save(ctx, "/state"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"stop"`, `x-ignore-shared`, `"file:/state"`, `query-migrate`, `query-migrate`} {
		if got := <-commands; !strings.Contains(got, want) {
			t.Errorf("command %s, want %s", got, want)
		}
	}
	m, _ = qemuSays(t, `{"return": {}}`, `{"return": {}}`, `{"return": {"status": "failed", "error-desc": "no space"}}`)
	if err := m.load(ctx, "/state"); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v", err)
	}
	m, _ = qemuSays(t, `{"error": {"class": "GenericError", "desc": "not now"}}`)
	if err := m.save(ctx, "/state"); err == nil || err.Error() != "qemu: stop: not now" {
		t.Errorf("error %v", err)
	}
}

func TestMonitorGivesUpWithTheContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := newMonitor(ctx, ours); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestChildrenDieWithTheirParent runs this test again as a process that starts a
// child, and kills that process.
func TestChildrenDieWithTheirParent(t *testing.T) {
	if os.Getenv("VM_TEST_PARENT") != "" {
		child := exec.Command("sleep", "60")
		if err := harness.StartChild(child); err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", child.Process.Pid)
		child.Wait()
		return
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithTheirParent$")
	parent.Env = append(os.Environ(), "VM_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscanf(out, "child %d\n", &child); err != nil {
		t.Fatal(err)
	}
	parent.Process.Kill()
	parent.Wait()
	for end := time.Now().Add(10 * time.Second); running(child); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the child lives on")
		}
	}
}

// running reports whether a process exists and is no zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "a b", "it's", `$HOME "x" \`, "two\nlines"} {
		out, err := exec.Command("sh", "-c", "printf %s "+harness.Quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q became %q, %v", text, out, err)
		}
	}
}
