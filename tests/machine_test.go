//go:build machine

package tests

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"service-manager/tests/vm"
)

// What the other tests take for granted: these need no product.

func TestMachine(t *testing.T) {
	long(t)
	forReleases(t, func(t *testing.T, release string) {
		image := base(t, release)
		begin := time.Now()
		g := start(t, image, vm.Options{})
		t.Logf("started in %.1fs", time.Since(begin).Seconds())
		t.Log(output(t, g, `. /etc/os-release; echo "$PRETTY_NAME, kernel $(uname -r), $(systemctl --version | head -1), Docker $(docker version -f '{{.Server.Version}}')"`))
		if state := output(t, g, "systemctl is-system-running"); state != "running" {
			t.Errorf("the machine is %s", state)
		}
		if c := output(t, g, "command -v go || true"); c != "" {
			t.Errorf("the guest has Go: %s", c)
		}
		// The guest's clock is that of the host, not that of the snapshot.
		var seconds int64
		fmt.Sscan(output(t, g, "date +%s"), &seconds)
		if off := time.Since(time.Unix(seconds, 0)).Abs(); off > 5*time.Second {
			t.Errorf("the clock is %s off", off)
		}

		t.Run("Docker", func(t *testing.T) {
			begin := time.Now()
			output(t, g, "docker run -d --name app1 -e APP_REVISION=1 app:1")
			t.Logf("docker run took %.1fs", time.Since(begin).Seconds())
			waitFor(t, g, time.Minute, "curl -fsS http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' app1)/ | grep -x 'revision 1'")
		})
		t.Run("IPVS", func(t *testing.T) {
			output(t, g, `set -e
modprobe ip_vs
ipvsadm -A -t 172.17.0.1:7001 -s rr
ipvsadm -a -t 172.17.0.1:7001 -r $(docker inspect -f '{{.NetworkSettings.IPAddress}}' app1):80 -m`)
			l := startLoad(t, g, "", "--for", "4s", "--connections-per-second", "40", "http://172.17.0.1:7001/")
			noneLost(t, "through IPVS", l.wait(t))
			output(t, g, "docker run --rm client:1 --for 3s --connections-per-second 10 --keep-alive 1 http://172.17.0.1:7001/ > /tmp/inside.json")
			noneLost(t, "from another container", readReport(t, g, "/tmp/inside.json"))
		})
		t.Run("nginx", func(t *testing.T) {
			output(t, g, "docker run -d --name nginx1 -e REVISION=7 nginx:1")
			waitFor(t, g, time.Minute, "curl -fsSi http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' nginx1)/ | grep -i 'X-Revision: 7'")
			output(t, g, "docker stop -t 30 nginx1")
			if status := output(t, g, "docker inspect -f '{{.State.ExitCode}} {{.Config.StopSignal}}' nginx1"); status != "0 SIGQUIT" {
				t.Errorf("nginx ended with %q, want 0 by SIGQUIT", status)
			}
		})
		t.Run("Registry", func(t *testing.T) {
			output(t, g, "systemctl start docker-registry")
			waitFor(t, g, time.Minute, "curl -fsS http://127.0.0.1:5000/v2/")
			output(t, g, `set -e
docker tag app:2 127.0.0.1:5000/app:2
docker push 127.0.0.1:5000/app:2
docker rmi 127.0.0.1:5000/app:2 app:2
docker run -d --name pulled 127.0.0.1:5000/app:2`)
		})
	})
}

// TestLoadCountsWhatIsLost checks the instrument: traffic to a container that is
// killed must be seen as lost, and traffic to one that is not, as answered.
func TestLoadCountsWhatIsLost(t *testing.T) {
	g := start(t, base(t, bookworm), vm.Options{})
	address := func(name string) string {
		return "http://" + output(t, g, "docker inspect -f '{{.NetworkSettings.IPAddress}}' "+name) + "/"
	}
	output(t, g, "docker run -d --name app1 -e APP_REVISION=1 app:1")
	waitFor(t, g, time.Minute, "curl -fsS "+address("app1"))
	l := startLoad(t, g, "", "--connections-per-second", "40", "--slow", "2", "--slow-for", "2s", "--keep-alive", "8", address("app1"))
	time.Sleep(10 * time.Second) // the length of the measurement
	r := l.stop(t)
	noneLost(t, "directly", r)
	if r.New.Sent < 350 {
		t.Errorf("%d new connections in %.0fs, want 40 a second", r.New.Sent, r.Seconds)
	}
	if got := r.Revisions["1"]; got == nil || got.Answers != r.Total.Answered {
		t.Errorf("answers by revision: %+v, want %d of 1", r.Revisions, r.Total.Answered)
	}

	l = startLoad(t, g, "", "--connections-per-second", "20", "--slow", "5", "--slow-for", "20s", "--keep-alive", "2",
		"--connect-timeout", "1s", "--answer-timeout", "2s", address("app1"))
	time.Sleep(3 * time.Second)
	output(t, g, "docker kill app1")
	time.Sleep(3 * time.Second)
	r = l.stop(t)
	t.Logf("killed: %s", r)
	if r.Slow.Lost == 0 || r.New.Lost == 0 || r.KeepAlive.Lost == 0 || len(r.Losses) == 0 {
		t.Errorf("the container was killed, and not every kind of traffic lost requests")
	}
}

func TestReboot(t *testing.T) {
	long(t)
	g := start(t, base(t, bookworm), vm.Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the host") }))
	defer server.Close()
	if err := g.ReverseForward(ctx(t, time.Minute), 5984, server.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if out := output(t, g, "curl -fsS http://127.0.0.1:5984/"); out != "the host" {
		t.Errorf("the forwarded port says %q", out)
	}
	output(t, g, "docker run -d --name app1 --restart always app:1; echo kept > /root/kept")
	before := output(t, g, "cat /proc/sys/kernel/random/boot_id")
	begin := time.Now()
	if err := g.Reboot(ctx(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Logf("could be entered again after %.1fs", time.Since(begin).Seconds())
	if state, err := g.Booted(ctx(t, 5*time.Minute)); err != nil || state != "running" {
		t.Errorf("booted: %s, %v", state, err)
	}
	t.Logf("booted after %.1fs", time.Since(begin).Seconds())
	if after := output(t, g, "cat /proc/sys/kernel/random/boot_id"); after == before {
		t.Error("the machine did not reboot")
	}
	waitFor(t, g, time.Minute, "curl -fsS http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' app1)/")
	if out := output(t, g, "cat /root/kept; curl -fsS http://127.0.0.1:5984/"); out != "kept\nthe host" {
		t.Errorf("after the reboot: %q", out)
	}
}

func TestPowerCut(t *testing.T) {
	long(t)
	forReleases(t, func(t *testing.T, release string) {
		g := start(t, base(t, release), vm.Options{PowerSafe: true})
		output(t, g, "docker run -d --name app1 --restart always app:1")
		for cut := 1; cut <= 2; cut++ {
			output(t, g, fmt.Sprintf("echo %d > /root/flushed; sync /root/flushed /root", cut))
			// Something is being written when the power goes.
			writer, err := g.Start(ctx(t, time.Minute), "while :; do dd if=/dev/zero of=/root/noise bs=64k count=20 conv=fsync 2>/dev/null; done", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := g.PowerCut(); err != nil {
				t.Fatal(err)
			}
			writer.Wait()
			begin := time.Now()
			if err := g.Boot(ctx(t, 5*time.Minute)); err != nil {
				t.Fatal(err)
			}
			entered := time.Since(begin)
			state, err := g.Booted(ctx(t, 5*time.Minute))
			if err != nil || state != "running" {
				t.Errorf("booted: %s, %v", state, err)
			}
			t.Logf("cut %d: could be entered after %.1fs, booted after %.1fs", cut, entered.Seconds(), time.Since(begin).Seconds())
			if out := output(t, g, "cat /root/flushed"); out != fmt.Sprint(cut) {
				t.Errorf("what was flushed is %q, want %d", out, cut)
			}
			if log := output(t, g, "dmesg | grep -i ext4"); !strings.Contains(log, "recovery complete") || strings.Contains(log, "error") {
				t.Errorf("the file system's journal was not replayed, or found errors: %s", log)
			}
			waitFor(t, g, time.Minute, "curl -fsS http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' app1)/")
		}
	})
}

func TestPut(t *testing.T) {
	long(t)
	g := start(t, base(t, bookworm), vm.Options{})
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "sub/secret": 0o600} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("run", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	c := ctx(t, time.Minute)
	if err := g.Put(c, dir, "/root/new/tree"); err != nil {
		t.Fatal(err)
	}
	if err := g.Put(c, filepath.Join(dir, "sub/secret"), "/root/it's here"); err != nil {
		t.Fatal(err)
	}
	if err := g.PutFile(c, "/root/a/b", []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	got := output(t, g, `cd /root; stat -c '%n %a %u' new/tree/run new/tree/sub/secret "it's here" a/b; cat a/b "it's here" new/tree/link`)
	want := "new/tree/run 755 0\nnew/tree/sub/secret 600 0\nit's here 600 0\na/b 640 0\ncontentsub/secretrun"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDerive(t *testing.T) {
	long(t)
	c := ctx(t, 5*time.Minute)
	builds := 0
	derive := func() *vm.Image {
		i, err := base(t, bookworm).Derive(c, "test", fmt.Sprint(os.Getpid()), func(ctx context.Context, g *vm.Guest) error {
			builds++
			_, err := g.Output(ctx, "echo derived > /root/derived; docker run -d --name app1 --restart always app:1; echo $$ > /run/memory")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	image := derive()
	t.Cleanup(func() {
		if err := image.Discard(); err != nil {
			t.Error(err)
		}
	})
	derive()
	if builds != 1 {
		t.Errorf("provisioned %d times", builds)
	}
	for range 2 {
		g := start(t, image, vm.Options{})
		if out := output(t, g, "cat /root/derived; test -s /run/memory && rm /root/derived; docker ps --format '{{.Names}}'"); out != "derived\napp1" {
			t.Errorf("a guest of the derived image has %q", out)
		}
	}
}
