package keeper

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/notify"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/watch/watchtest"
	"service-manager/helpers/sm-healthcheck/probe"
)

// table is a load balancer that notes what is done with it.
type table struct {
	wanted []ipvs.Wanted
	has    []ipvs.Service
	fails  error
	did    []string
}

func (b *table) do(what string, more ...string) error {
	b.did = append(b.did, strings.Join(append([]string{what}, more...), " "))
	return b.fails
}

func (b *table) Wanted(context.Context) ([]ipvs.Wanted, error) { return b.wanted, nil }
func (b *table) Services() ([]ipvs.Service, error)             { return b.has, nil }
func (b *table) Close()                                        {}
func (b *table) Restore(_ context.Context, addresses ...ipvs.Address) (restored []ipvs.Place, err error) {
	for _, at := range addresses {
		err = b.do("restore", at.String())
		restored = append(restored, ipvs.Place{Address: at, Destination: netip.MustParseAddrPort("172.17.0.2:80")})
	}
	return restored, err
}
func (b *table) Rest(_ context.Context, d ipvs.Wanted, rests bool) error {
	what := "serve"
	if rests {
		what = "rest"
	}
	return b.do(what, d.Destination.String())
}
func (b *table) Evict(_ context.Context, d ipvs.Wanted) error {
	return b.do("evict", d.Destination.String())
}
func (b *table) Discard(_ context.Context, p ipvs.Place) (bool, error) {
	return true, b.do("discard", p.Destination.String())
}
func (b *table) Remove(_ context.Context, at ipvs.Address, to netip.AddrPort, owner string) error {
	return b.do("remove", to.String())
}

// keeping returns a keeper of two containers at one address, both with weight 1.
func keeping(t *testing.T) (*Keeper, *table, *bytes.Buffer) {
	var said bytes.Buffer
	b := &table{}
	k := &Keeper{
		w: command.World{Stdout: &said, Stderr: &said, Env: func(string) (string, bool) { return "", false }}, containers: running.Folder(t.TempDir()),
		open:      func() (balancer, error) { return b, nil },
		reachable: func(...ipvs.Address) (bool, error) { return true, nil },
		changed:   make(chan struct{}, 1), subjects: map[string]*subject{}, restarting: map[string]bool{},
	}
	at := ipvs.Address{AddrPort: netip.MustParseAddrPort("172.17.0.1:7001"), Protocol: ipvs.TCP}
	service := ipvs.Service{Address: at}
	for i, name := range []string{"web-1", "web-2"} {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 17, 0, byte(2 + i)}), 80)
		k.subjects[name] = &subject{
			Container: running.Container{ID: name, Name: name, Unit: "web@" + name + ".service", Check: &running.Check{Failures: 2, RestartAfter: time.Minute}},
			probe:     parsed(t, "tcp://"+to.String()), release: func() {}, answered: true, settled: true,
		}
		b.wanted = append(b.wanted, ipvs.Wanted{Place: ipvs.Place{Address: at, Destination: to}, Owner: name, Weight: 1})
		service.Destinations = append(service.Destinations, ipvs.Destination{Address: to, Weight: 1})
	}
	k.wanted, b.has = b.wanted, []ipvs.Service{service}
	return k, b, &said
}

// fail makes probes of a container fail, so many in a row.
func (k *Keeper) fail(name string, times int, now time.Time) {
	for range times {
		k.subjects[name].note(errors.New("connection refused"), now)
	}
}

func TestPass(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		before func(k *Keeper, b *table)
		did    string // what is done with the table
		said   string // a part of what is said, if anything is
	}{
		"all is well": {func(*Keeper, *table) {}, "", ""},
		"one failure": {func(k *Keeper, _ *table) { k.fail("web-1", 1, now) }, "", ""},
		"unhealthy":   {func(k *Keeper, _ *table) { k.fail("web-1", 2, now) }, "rest 172.17.0.2:80", "web-1: gets no new connections at 172.17.0.1:7001\n"},
		"one is healthy again, and the last one fails": {func(k *Keeper, b *table) {
			k.fail("web-2", 2, now)
			b.has[0].Destinations[0].Weight = 0
			k.subjects["web-1"].settled = false
		}, "serve 172.17.0.2:80, rest 172.17.0.3:80", ""},
		"both unhealthy": {func(k *Keeper, _ *table) { k.fail("web-1", 2, now); k.fail("web-2", 2, now) }, "", "web-2: keeps its connections at 172.17.0.1:7001: no other one gets any\n"},
		"dead":           {func(k *Keeper, _ *table) { k.subjects["web-1"].ended = now }, "evict 172.17.0.2:80", ""},
		"dead for long":  {func(k *Keeper, _ *table) { k.subjects["web-1"].ended = now.Add(-forgetAfter) }, "evict 172.17.0.2:80, remove 172.17.0.2:80", ""},
		"deleted":        {func(_ *Keeper, b *table) { b.has = nil }, "restore 172.17.0.1:7001", "put 172.17.0.2:80 back at 172.17.0.1:7001: it was missing in the kernel\n"},
		"not reachable":  {func(k *Keeper, _ *table) { k.reachable = func(...ipvs.Address) (bool, error) { return false, nil } }, "restore 172.17.0.1:7001, restore 172.17.0.1:7001", ""},
		"added by ipvsadm": {func(_ *Keeper, b *table) {
			b.has[0].Destinations = append(b.has[0].Destinations, ipvs.Destination{Address: netip.MustParseAddrPort("172.17.0.9:80"), Weight: 1})
		}, "discard 172.17.0.9:80", "removed 172.17.0.9:80 from 172.17.0.1:7001: no unit has added it; sm-ipvs add would keep it\n"},
		"of another unit": {func(k *Keeper, b *table) { delete(k.subjects, "web-1") }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, b, said := keeping(t)
			test.before(k, b)
			if err := k.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
			if did := strings.Join(b.did, ", "); did != test.did {
				t.Errorf("did %q; want %q", did, test.did)
			}
			if !strings.Contains(said.String(), test.said) || test.said == "" && said.Len() > 0 && len(b.did) == 0 {
				t.Errorf("said %q; want %q", said, test.said)
			}
		})
	}
}

// What fails is done at the next look, and a container that is healthy again does not
// count as dealt with before that.
func TestPassAgain(t *testing.T) {
	k, b, _ := keeping(t)
	k.fail("web-1", 2, time.Now())
	b.has[0].Destinations[0].Weight = 0
	k.subjects["web-1"].note(nil, time.Now())
	b.fails = errors.New("no")
	if err := k.pass(t.Context()); err == nil {
		t.Error("a failure of the table is passed over")
	}
	b.fails = nil
	if err := k.pass(t.Context()); err != nil {
		t.Error(err)
	}
	b.has[0].Destinations[0].Weight = 1
	if err := k.pass(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"serve 172.17.0.2:80", "serve 172.17.0.2:80"}; !slices.Equal(b.did, want) {
		t.Errorf("did %q; want %q", b.did, want)
	}
}

func TestEndedAtOnce(t *testing.T) {
	k, b, _ := keeping(t)
	k.hasEnded(t.Context(), k.subjects["web-2"])
	if want := []string{"evict 172.17.0.3:80"}; !slices.Equal(b.did, want) {
		t.Errorf("did %q; want %q", b.did, want)
	}
	if k.healthOf("web-2") != ended || k.healthOf("web-1") != fine {
		t.Error("it does not count as ended, or the other one does")
	}
}

// One container of a service is restarted at a time, and again only after its whole time.
func TestRestart(t *testing.T) {
	k, _, said := keeping(t)
	asked, done := make(chan string), make(chan error)
	k.restart = func(_ context.Context, unit string) error {
		asked <- unit
		return <-done
	}
	begin := time.Now()
	k.fail("web-1", 2, begin.Add(-59*time.Second))
	k.restartSome(t.Context())
	if said.Len() > 0 {
		t.Errorf("before its time: %s", said)
	}
	k.fail("web-2", 2, begin.Add(-time.Hour))
	k.restartSome(t.Context())
	if unit := <-asked; unit != "web@web-2.service" {
		t.Errorf("restarted %s", unit)
	}
	k.subjects["web-1"].restarts = begin
	k.restartSome(t.Context())
	done <- errors.New("the job ended as \"failed\"")
	for restarting := true; restarting; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		restarting = len(k.restarting) > 0
		k.mu.Unlock()
	}
	k.restartSome(t.Context())
	if unit := <-asked; unit != "web@web-1.service" {
		t.Errorf("restarted %s", unit)
	}
	done <- nil
	if n := strings.Count(said.String(), "restarting web@web-2.service"); n != 1 {
		t.Errorf("restarted %d times in a moment:\n%s", n, said)
	}
}

func TestEnd(t *testing.T) {
	k, b, _ := keeping(t)
	k.fail("web-1", 2, time.Now())
	k.subjects["web-2"].Check = nil
	if err := k.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"serve 172.17.0.2:80"}; !slices.Equal(b.did, want) {
		t.Errorf("did %q; want %q", b.did, want)
	}
}

func TestStatus(t *testing.T) {
	k, _, _ := keeping(t)
	k.fail("web-1", 2, time.Now())
	if got, want := k.status(), "watching 2 containers, unhealthy: web-1"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	k.subjects["web-1"].ended = time.Now()
	if got, want := k.status(), "watching 1 container"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

// Where files cannot be watched, it finds what is new by looking.
func TestRunBlind(t *testing.T) {
	watchtest.UseUp(t)
	k, _, said := keeping(t)
	clear(k.subjects)
	ready := make(chan struct{})
	k.w.Notify = notify.To(func(state string) {
		if state == "READY=1" {
			close(ready)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run = %v", err)
	}
	id := strings.Repeat("a", 64)
	if err := k.containers.Note(running.Container{ID: id, Name: "web-3", PID: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(20 * time.Second)
	for found := false; !found; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		found = k.subjects[id] != nil
		k.mu.Unlock()
		if time.Now().After(late) {
			t.Fatal("a new container is not found")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "for changes: too many open files"); n != 1 {
		t.Errorf("it warned %d times:\n%s", n, said)
	}
}

func parsed(t *testing.T, url string) probe.Probe {
	p, err := probe.Parse(url, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
