//go:build native

package native

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"service-manager/tests/harness"
)

const (
	bookworm = "bookworm"
	trixie   = "trixie"
)

// interrupted ends with Ctrl-C, and when the tests' parent has gone.
var interrupted context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := harness.NativeProblem(); err != nil {
		fmt.Fprintln(os.Stderr, "native machines cannot run here:", err)
		return 1
	}
	var stop context.CancelFunc
	interrupted, stop = signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func(parent int) {
		for os.Getppid() == parent {
			time.Sleep(time.Second) // no event tells of it reliably
		}
		stop()
	}(os.Getppid())
	defer func() {
		if bundleDir != "" {
			os.RemoveAll(bundleDir)
		}
	}()
	return m.Run()
}

// ctx returns a context that ends with the test, an interrupt, or limit.
func ctx(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(interrupted, limit)
	t.Cleanup(cancel)
	return c
}

var releases = []string{bookworm, trixie}

var longTests = flag.Bool("long", false, "run the tests that take many minutes, too, and all on each release")

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

// forReleases runs a test of the graph of units, which depends on systemd's release, on each
// release, beside other tests; with -short on one.
func forReleases(t *testing.T, test func(t *testing.T, release string)) {
	t.Parallel()
	if testing.Short() {
		on(t, one(t), test)
	} else {
		on(t, releases, test)
	}
}

// onEither is forReleases for what hardly depends on the release: with -long on both.
func onEither(t *testing.T, test func(t *testing.T, release string)) {
	t.Parallel()
	on(t, either(t), test)
}

// alone runs a test that measures on each release, one after the other, and beside no other
// test.
func alone(t *testing.T, test func(t *testing.T, release string)) {
	t.Helper()
	medium(t)
	for _, release := range either(t) {
		t.Run(release, func(t *testing.T) { test(t, release) })
	}
}

// either returns one release, with -long both.
func either(t *testing.T) []string {
	if *longTests {
		return releases
	}
	return one(t)
}

// one returns one release. The name of the test decides which, so that both are used.
func one(t *testing.T) []string { return releases[len(t.Name())%2:][:1] }

func on(t *testing.T, releases []string, test func(t *testing.T, release string)) {
	t.Helper()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			test(t, release)
		})
	}
}

var (
	bundleDir string
	bundled   = sync.OnceValues(func() (string, error) {
		var err error
		if bundleDir, err = os.MkdirTemp("", "service-manager-bundle-"); err != nil {
			return "", err
		}
		return bundleDir, harness.Bundle(interrupted, bundleDir, !harness.HasIPVS())
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

// One image is made at a time.
var making sync.Mutex

// base returns a machine without the product.
func base(t testing.TB, release string) *harness.NativeImage {
	t.Helper()
	making.Lock()
	defer making.Unlock()
	i, err := harness.NativeBase(ctx(t, 20*time.Minute), release, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// installed returns the base machine after the bundle's install.sh ran in it.
func installed(t testing.TB, release string) *harness.NativeImage {
	t.Helper()
	dir, image := bundle(t), base(t, release)
	making.Lock()
	defer making.Unlock()
	key, err := harness.HashDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	limited := ctx(t, 5*time.Minute)
	i, err := image.Derive(limited, "native-installed-"+release, key+wrapper+sandboxes, func(m *harness.NativeMachine) error {
		_, err := m.Output(limited, sandboxes)
		return errors.Join(err, m.Put(limited, dir, "/root/bundle"),
			m.PutFile(limited, "/usr/local/lib/wrapper", []byte(wrapper), 0o755),
			second(m.Output(limited, "/root/bundle/install.sh")))
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func second[T any](_ T, err error) error { return err }

// A machine is a running systemd with Docker. It ends with its test.
type machine struct {
	*harness.NativeMachine
	faults *faults
}

// start starts a machine with the product, and says what is wrong in it when the
// test failed.
func start(t testing.TB, release string) *machine {
	t.Helper()
	return startFrom(t, installed(t, release))
}

func startFrom(t testing.TB, image *harness.NativeImage) *machine {
	t.Helper()
	n, err := image.Start(ctx(t, 3*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{n, &faults{}}
	t.Cleanup(func() {
		if t.Failed() && interrupted.Err() == nil {
			m.diagnose(t)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *machine) diagnose(t testing.TB) {
	limited, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, errs, _, err := m.Run(limited, `systemctl --no-pager --failed; systemctl list-jobs --no-pager; docker ps -a; sm-ipvs list
journalctl -b --no-pager -o short-precise -n 120`)
	t.Logf("the machine of the failed test: %v\n%s%s", err, out, errs)
}

// output runs a script that must succeed.
func (m *machine) output(t testing.TB, script string) string {
	t.Helper()
	out, err := m.Output(ctx(t, 5*time.Minute), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try runs a script, and returns what it printed and its exit status.
func (m *machine) try(t testing.TB, script string) (out string, status int) {
	t.Helper()
	stdout, stderr, status, err := m.Run(ctx(t, 5*time.Minute), script)
	if err != nil {
		t.Fatal(err)
	}
	return stdout + stderr, status
}

// patience is the limit of most waits: for what takes seconds on a quiet host, on a busy
// one.
const patience = time.Minute

// waitFor repeats a script until all of its commands succeed, and returns how
// long that took.
func (m *machine) waitFor(t testing.TB, limit time.Duration, script string) time.Duration {
	t.Helper()
	begin := time.Now()
	out, errs, status, err := m.Run(ctx(t, limit+time.Minute), harness.Until(script, limit))
	if err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Fatalf("not within %s: %s\n%s%s", limit, script, out, errs)
	}
	return time.Since(begin)
}

// show returns a property of a unit.
func (m *machine) show(t testing.TB, unit, property string) string {
	t.Helper()
	return m.output(t, "systemctl show -P "+property+" -- "+harness.Quote(unit))
}

// reach makes an address of the host (host:port) reachable as 127.0.0.1:port.
func (m *machine) reach(t testing.TB, port int, address string) {
	t.Helper()
	if err := m.ReverseForward(port, address); err != nil {
		t.Fatal(err)
	}
}

type definition = harness.Definition

func app(revision string, settings ...string) definition { return harness.App(revision, settings...) }

// edit puts the definition of a service into the folder store.
func (m *machine) edit(t testing.TB, service string, d definition) {
	t.Helper()
	file := "/etc/service-manager/services/" + service + ".json"
	m.output(t, fmt.Sprintf("cat > %s.new <<'END'\n%s\nEND\nmv %s.new %s", file, d.JSON(t), file, file))
}

// first deploys the first revision of a service and waits until all is quiet.
func (m *machine) first(t testing.TB, service string, d definition) {
	t.Helper()
	m.edit(t, service, d)
	environment, _ := d["environment"].(map[string]string)
	m.settled(t, service, environment["APP_REVISION"])
}

// serves waits until a revision of the application, which answers with that, serves and
// is all there is of the service: it is good, with one container, one record and one
// destination, which belong together, and no job is left. A newer revision may have been
// rejected.
func (m *machine) serves(t testing.TB, service, revision string) time.Duration {
	t.Helper()
	return m.waitFor(t, patience, serving(service, revision))
}

// settled is serves, and the revision is the newest.
func (m *machine) settled(t testing.TB, service, revision string) time.Duration {
	t.Helper()
	return m.waitFor(t, patience, serving(service, revision)+`test "$(readlink current)" = "$(readlink good)"`)
}

// serving is the script of machine.serves. Files that a kill has left unfinished may be
// there for two minutes, until sm-fetch removes them.
func serving(service, revision string) string {
	return strings.NewReplacer("SERVICE", service, "REVISION", revision).Replace(`PATH=$PATH:/opt/service-manager/bin
cd /etc/service-manager/revisions/SERVICE
name=$(readlink good); name=${name%.json}
address=$(jq -r .address good)
port=$(jq -r .port good)
test "$(ls /run/service-manager/SERVICE/*.env)" = "/run/service-manager/SERVICE/$name.env"
test -z "$(ls /run/service-manager/SERVICE/*.failed 2>/dev/null | grep -F "/$name.failed")"
. "/run/service-manager/SERVICE/$name.env"
test -n "$SM_CONTAINER_ID"
test "$(head -qn 1 /run/service-manager/ipvs/${address}_*)" = "$SM_CONTAINER_ID"
test "$(sm-ipvs list --json $address | jq -r '.[].destinations[] | "\(.address) \(.weight)"')" = "$SM_CONTAINER_IP:$port 1"
test "$(docker ps -a --filter label=service-manager.unit --format '{{.Names}} {{.State}}' | grep '^SERVICE\.')" = "SERVICE.$name running"
test "$(docker inspect -f '{{.Id}} {{.NetworkSettings.IPAddress}}' SERVICE.$name)" = "$SM_CONTAINER_ID $SM_CONTAINER_IP"
test "$(pgrep -fc "^/[a-z/-]*/sm-docker-run run .*SERVICE[@.]$name")" = 1
test -z "$(find /etc/service-manager /run/service-manager -name '.tmp-*' -mmin +2)"
flock -n ../.lock-SERVICE true
systemctl is-active SERVICE@manager.service "SERVICE@$name.service"
test "$(systemctl list-jobs --no-legend | wc -l)" = 0
curl -fsS -m 5 -o /dev/null -D - http://$SM_CONTAINER_IP:$port/ | tr -d '\r' | grep -ix 'x-revision: REVISION'
`)
}

// revision returns the name of the revision that a link of a service, good or
// current, names.
func (m *machine) revision(t testing.TB, service, link string) string {
	t.Helper()
	return strings.TrimSuffix(m.output(t, "readlink /etc/service-manager/revisions/"+service+"/"+link), ".json")
}

// next waits until current is no longer that revision, and returns what it is.
func (m *machine) next(t testing.TB, service, revision string) string {
	t.Helper()
	m.waitFor(t, patience, "test $(readlink /etc/service-manager/revisions/"+service+"/current) != "+revision+".json")
	return m.revision(t, service, "current")
}

// standIn skips what needs the file that stands in for the kernel's table.
func standIn(t testing.TB) {
	t.Helper()
	if harness.HasIPVS() {
		t.Skip("needs the stand-in for the kernel's table, and this kernel has IPVS; see the tests of the virtual machine")
	}
}

// active pretends that a destination, IP:port, has that many connections.
func (m *machine) active(t testing.TB, destination string, n int) {
	t.Helper()
	standIn(t)
	m.output(t, fmt.Sprintf("echo %d > /run/ipvs-table/active/%s", n, destination))
}

// scene is t.Run for a part that later parts build on.
func scene(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}
