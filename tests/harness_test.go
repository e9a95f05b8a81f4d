//go:build machine

package tests

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/load/traffic"
	"service-manager/tests/vm"
)

// The Debian releases that are tested; what runs on one release runs on the first.
const (
	bookworm = "bookworm"
	trixie   = "trixie"
)

// interrupted ends with Ctrl-C, and when nothing is waiting for the tests any more, so
// that they end their machines.
var interrupted context.Context

func TestMain(m *testing.M) {
	var stop context.CancelFunc
	interrupted, stop = signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func(parent int) {
		for os.Getppid() == parent {
			time.Sleep(time.Second) // no event reports it reliably
		}
		stop()
	}(os.Getppid())
	code := m.Run()
	stop()
	if bundleDir != "" {
		os.RemoveAll(bundleDir)
	}
	os.Exit(code)
}

// ctx returns a context that ends with the test, an interrupt, or limit.
func ctx(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(interrupted, limit)
	t.Cleanup(cancel)
	return c
}

var longTests = flag.Bool("long", false, "run the tests that take many minutes, too, and each as often as it can")

// long marks a test that takes many minutes.
func long(t *testing.T) {
	t.Helper()
	if !*longTests {
		t.Skip("takes many minutes; run with -long")
	}
}

// medium marks a test that takes minutes.
func medium(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes; not run with -short")
	}
}

// forReleases runs a test on the first release, with -long on each.
func forReleases(t *testing.T, test func(t *testing.T, release string)) {
	releases := []string{bookworm, trixie}
	if !*longTests {
		releases = releases[:1]
	}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) { test(t, release) })
	}
}

var bases = struct {
	sync.Mutex
	images map[string]*vm.Image
}{images: map[string]*vm.Image{}}

// base returns the machine with Docker and the test images, but without the
// product. The first call may take minutes.
func base(t testing.TB, release string) *vm.Image {
	t.Helper()
	bases.Lock()
	defer bases.Unlock()
	if i := bases.images[release]; i != nil {
		return i
	}
	i, err := vm.Base(ctx(t, 20*time.Minute), release, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	bases.images[release] = i
	return i
}

// start starts a machine that ends with the test, and says what is wrong in it
// when the test failed.
func start(t testing.TB, image *vm.Image, o vm.Options) *vm.Guest {
	t.Helper()
	g, err := image.Start(ctx(t, 5*time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && interrupted.Err() == nil {
			diagnose(t, g)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func diagnose(t testing.TB, g *vm.Guest) {
	limited, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := g.Run(limited, `systemctl --no-pager --failed; systemctl list-jobs --no-pager; docker ps -a; ipvsadm -Ln
journalctl -b --no-pager -o short-precise -n 120`)
	t.Logf("the machine of the failed test: %v\n%s%s", err, r.Stdout, r.Stderr)
}

// output runs a script that must succeed.
func output(t testing.TB, g *vm.Guest, script string) string {
	t.Helper()
	out, err := g.Output(ctx(t, 10*time.Minute), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// waitFor repeats a script until all of its commands succeed, and returns how
// long that took.
func waitFor(t testing.TB, g *vm.Guest, limit time.Duration, script string) time.Duration {
	t.Helper()
	begin := time.Now()
	r, err := g.Run(ctx(t, limit+time.Minute), harness.Until(script, limit))
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != 0 {
		t.Fatalf("not within %s: %s\n%s%s", limit, script, r.Stdout, r.Stderr)
	}
	return time.Since(begin)
}

// A load is a client that runs in the guest.
type load struct {
	guest   *vm.Guest
	command *vm.Command
	file    string
}

var loads int

// patient are the limits of a load client. They are no longer than the machine is sure to
// live; tests stop the client. An emulated processor that has to wait for a real one
// makes everything wait: that is slow, and the report says how slow, but nothing is lost
// by it.
const patient = "--for 30m --connect-timeout 120s --answer-timeout 90s"

// startLoad starts the load client with its arguments, the last of which is the
// URL, and waits for the first answer. A prefix such as "ip netns exec client" goes
// before it.
func startLoad(t testing.TB, g *vm.Guest, prefix string, args ...string) *load {
	t.Helper()
	l := sendLoad(t, g, prefix, args...)
	waitFor(t, g, 2*time.Minute, "test -e "+l.begun())
	return l
}

// sendLoad is startLoad without the wait.
func sendLoad(t testing.TB, g *vm.Guest, prefix string, args ...string) *load {
	t.Helper()
	loads++
	l := &load{guest: g, file: fmt.Sprintf("/tmp/load-%d.json", loads)}
	line := strings.TrimSpace(prefix + " load " + patient + " --out " + l.file + " --begun " + l.begun())
	for _, a := range args {
		line += " '" + a + "'"
	}
	var err error
	if l.command, err = g.Start(ctx(t, 40*time.Minute), line, nil, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return l
}

// begun is the file that the client makes at the first answer.
func (l *load) begun() string { return l.file + ".begun" }

// stop ends the client, which waits for the requests under way, and returns what
// it counted. It must not have ended by itself: what came later was not measured.
func (l *load) stop(t testing.TB) traffic.Report {
	t.Helper()
	if err := l.command.Signal(ctx(t, time.Minute), "TERM"); err != nil {
		t.Fatal(err)
	}
	report := l.wait(t)
	if !report.Stopped {
		t.Errorf("the load ended by itself after %.0fs", report.Seconds)
	}
	return report
}

// wait waits for the client's own end.
func (l *load) wait(t testing.TB) traffic.Report {
	t.Helper()
	code, err := l.command.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Fatalf("load: exit status %d", code)
	}
	return readReport(t, l.guest, l.file)
}

// readReport returns what a load client counted.
func readReport(t testing.TB, g *vm.Guest, file string) traffic.Report {
	t.Helper()
	var report traffic.Report
	if err := json.Unmarshal([]byte(output(t, g, "cat "+file)), &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// noneLost fails the test when a request was lost, when one was not even sent because too
// many were under way, or when one was connected only after many attempts of the
// kernel's.
func noneLost(t testing.TB, what string, r traffic.Report) {
	t.Helper()
	noneSentLost(t, what, r)
	if r.Total.Skipped > 0 {
		t.Errorf("%s: %d requests were skipped", what, r.Total.Skipped)
	}
	if r.Total.SlowestConnect > longestConnect {
		t.Errorf("%s: the slowest connection took %.1fs", what, r.Total.SlowestConnect)
	}
}

// longestConnect is, in seconds, where patience with an emulated processor ends: the
// seventh attempt to connect goes out after 63 seconds.
const longestConnect = 63

// noneSentLost fails the test when a request that was sent was lost, or when there
// were none.
func noneSentLost(t testing.TB, what string, r traffic.Report) {
	t.Helper()
	t.Logf("%s: %s", what, r)
	if r.Total.Answered == 0 {
		t.Errorf("%s: no request was answered", what)
	}
	for i, loss := range r.Losses {
		if i == 10 {
			t.Errorf("%s: … %d lost in all: %v", what, r.Total.Lost, r.Total.LostByKind)
			break
		}
		t.Errorf("%s: lost after %.3fs (%s): %s, %s, %s, waited %.3fs, from %s", what, loss.After,
			loss.Time.Format("15:04:05.000"), loss.Traffic, loss.Kind, loss.Error, loss.Seconds, loss.Local)
	}
}

var (
	bundleDir string
	bundled   = sync.OnceValues(func() (string, error) {
		var err error
		if bundleDir, err = os.MkdirTemp("", "service-manager-bundle-"); err != nil {
			return "", err
		}
		if err = harness.Bundle(interrupted, bundleDir, false); err != nil {
			return "", err
		}
		return bundleDir, nil
	})
)

// bundle returns a folder with the product, made by install.sh --bundle.
func bundle(t testing.TB) string {
	t.Helper()
	dir, err := bundled()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// installed returns the base machine after the bundle's install.sh ran in it.
func installed(t testing.TB, release string) *vm.Image {
	t.Helper()
	dir := bundle(t)
	key, err := harness.HashDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	i, err := base(t, release).Derive(ctx(t, 10*time.Minute), "installed", key, func(ctx context.Context, g *vm.Guest) error {
		if err := g.Put(ctx, dir, "/root/bundle"); err != nil {
			return err
		}
		_, err := g.Output(ctx, "/root/bundle/install.sh")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// put copies a file of this package's testdata folder into the guest.
func put(t testing.TB, g *vm.Guest, name, guestPath string) {
	t.Helper()
	if err := g.Put(ctx(t, time.Minute), filepath.Join("testdata", name), guestPath); err != nil {
		t.Fatal(err)
	}
}

// number reads a number that the guest has printed.
func number(t testing.TB, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
