package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/sm-fetch/pool"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

func at(service name.Service, address string) source.Change {
	return source.Change{Service: service, Document: []byte(`{"image": "app", "port": 80, "address": "` + address + `"}`)}
}

// saying returns how many lines of the log have a text in them.
func (a *Applier) saying(text string) (n int) {
	l := a.Log.(*lines)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// restarted is another run for the same host.
func (a *Applier) restarted() *Applier {
	return &Applier{Revisions: a.Revisions, Stop: a.Stop, Reload: a.Reload, Forget: a.Forget, Busy: a.Busy, Retry: a.Retry, Log: a.Log,
		Root: a.Root, Listening: a.Listening}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: does not come true", what)
		}
	}
}

// The first service keeps an address; one that wants it gets it when that goes.
func TestAddressOfAnother(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0 // so that nothing is rechecked by itself
	a.must(t, at("web", "10.0.0.1:80"))
	a.must(t, at("api", "10.0.0.1:81"))
	a = a.restarted()
	for range 2 {
		if a.must(t, at("copy", "10.0.0.1:80")) != "" {
			t.Error("copy has the address of web")
		}
	}
	if n := a.saying("address: 10.0.0.1:80 is the address of web; choose another one"); n != 1 {
		t.Errorf("the refusal was told %d times", n)
	}
	if a.Invalid("copy") == "" {
		t.Error("the refusal leaves copy valid")
	}
	before, _ := a.Revisions.Current("api")
	if a.must(t, at("api", "10.0.0.1:80")) != before {
		t.Error("api has the address of web")
	}
	a.must(t, source.Change{Service: "web", Deleted: true})
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	// First come, first served.
	if got, _ := a.Revisions.Current("copy"); got == "" || a.Invalid("copy") != "" {
		t.Error("copy does not get the address of web, which has gone")
	}
	if got, _ := a.Revisions.Current("api"); got != before {
		t.Error("two services have one address")
	}
	// A service has the address of its good revision, too, until another one is good.
	current, _ := a.Revisions.Current("copy")
	if err := a.Revisions.SetGood(name.Revision{Service: "copy", Rev: current}); err != nil {
		t.Fatal(err)
	}
	a.must(t, at("copy", "10.0.0.1:82"))
	if a.must(t, at("late", "10.0.0.1:80")) != "" {
		t.Error("late has the address at which copy still serves")
	}
}

func TestManyWithOneAddress(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	for i := range 200 {
		a.must(t, at(name.Service(fmt.Sprintf("s%d", i)), "10.0.0.1:80"))
	}
	if n := a.saying(": address: "); n != 199 {
		t.Errorf("%d lines about the address, want one for each service but the first", n)
	}
}

// What another service's good revision gives up is found by rechecking, also by the next
// run, to which the database does not report the change again.
func TestAddressIsGivenUp(t *testing.T) {
	const rev = "3-0123456789abcdef0123456789abcdef"
	a := newApplier(t)
	a.Retry = 0
	web := a.must(t, at("web", "10.0.0.1:80"))
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: web}); err != nil {
		t.Fatal(err)
	}
	moved := a.must(t, at("web", "10.0.0.1:81"))
	next := at("next", "10.0.0.1:80")
	next.Rev = rev
	a.must(t, next)
	saved, err := os.ReadFile(a.refusedPath("next"))
	if err != nil {
		t.Fatal(err)
	}
	other := a.restarted()
	other.Source = "another"
	if err := other.Resume(t.Context()); err != nil || len(other.refused) > 0 {
		t.Errorf("what one store said counts for another: %v, %v", err, other.refused)
	}
	if err := os.WriteFile(a.refusedPath("next"), saved, 0o600); err != nil {
		t.Fatal(err)
	}
	a = a.restarted()
	a.Retry = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	if err := a.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _ := a.Revisions.Current("next"); got != "" {
		t.Error("next has the address at which web serves")
	}
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: moved}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "next gets the address", func() bool { got, _ := a.Revisions.Current("next"); return got == rev })
	cancel()
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(a.Revisions.Root, refusedFolder, "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// A file that was renamed is a new service: the old one stops when the new serves.
func TestRename(t *testing.T) {
	a := newApplier(t)
	var stopped atomic.Bool
	a.Stop = func(context.Context, name.Service) error { stopped.Store(true); return nil }
	web := a.must(t, at("web", "10.0.0.1:80"))
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: web}); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), at("shop", "10.0.0.1:80")); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), source.Change{Service: "web", Deleted: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "web waits for shop", func() bool { return a.saying("web: serves 10.0.0.1:80 until shop does") == 1 })
	if stopped.Load() {
		t.Error("web stops before shop serves")
	}
	shop, err := a.Revisions.Current("shop")
	if err != nil || shop == "" {
		t.Fatalf("shop has not got the address of web: %v", err)
	}
	if err := a.Revisions.SetGood(name.Revision{Service: "shop", Rev: shop}); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	if !stopped.Load() || a.Revisions.Deleted("web") {
		t.Error("web is still there")
	}
}

// A rename is undone before the service of the new name serves: the old one never stops.
func TestRenameUndone(t *testing.T) {
	a := newApplier(t)
	var stopped, forgotten atomic.Bool
	a.Stop = func(_ context.Context, service name.Service) error {
		if service == "web" {
			stopped.Store(true)
		}
		return nil
	}
	a.Forget = func(_ context.Context, service name.Service) error {
		if service == "web" {
			forgotten.Store(true)
		}
		return nil
	}
	web := a.must(t, at("web", "10.0.0.1:80"))
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: web}); err != nil {
		t.Fatal(err)
	}
	for _, change := range []source.Change{at("shop", "10.0.0.1:80"), {Service: "web", Deleted: true}} {
		if err := a.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "web waits for shop", func() bool { return a.saying("web: serves 10.0.0.1:80 until shop does") == 1 })
	for _, change := range []source.Change{at("web", "10.0.0.1:80"), {Service: "shop", Deleted: true}} {
		if err := a.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	current, _ := a.Revisions.Current("web")
	good, _ := a.Revisions.Good("web")
	if stopped.Load() || forgotten.Load() || a.Revisions.Deleted("web") || current != web || good != web {
		t.Errorf("stopped %t, forgotten %t, deleted %t, current %s, good %s; want web as it was", stopped.Load(), forgotten.Load(), a.Revisions.Deleted("web"), current, good)
	}
	a.Retry = 0
	if err := a.Apply(t.Context(), at("api", "10.0.0.1:80")); err != nil || !a.Waits("api") {
		t.Errorf("api has got the address of web: %v", err)
	}
	// What comes next counts.
	if err := errors.Join(a.Apply(t.Context(), source.Change{Service: "api", Deleted: true}), a.Apply(t.Context(), source.Change{Service: "web", Deleted: true})); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil || !stopped.Load() {
		t.Errorf("deleted again: %v, stopped %t", err, stopped.Load())
	}
}

// A service that waits for its successor waits for the next one, when that is renamed.
func TestRenameAgain(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: a.must(t, at("web", "10.0.0.1:80"))}); err != nil {
		t.Fatal(err)
	}
	a.must(t, at("shop", "10.0.0.1:80"))
	if err := errors.Join(a.Revisions.MarkDeleted("web"), a.Apply(t.Context(), at("shop", "10.0.0.1:80")), a.Apply(t.Context(), at("store", "10.0.0.1:80"))); err != nil {
		t.Fatal(err)
	}
	if successor, _, _ := a.successor(t.Context(), "web"); successor != "shop" {
		t.Errorf("web waits for %q", successor)
	}
	if err := a.Revisions.MarkDeleted("shop"); err != nil {
		t.Fatal(err)
	}
	if successor, _, _ := a.successor(t.Context(), "web"); successor != "store" {
		t.Errorf("web waits for %q", successor)
	}
}

// A revision that has been replaced keeps its address as long as a runner of it may serve.
func TestAddressOfARunner(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: a.must(t, at("web", "10.0.0.1:80"))}); err != nil {
		t.Fatal(err)
	}
	second := name.Revision{Service: "web", Rev: a.must(t, at("web", "10.0.0.1:81"))}
	record := a.Revisions.RecordPath(second.First())
	if err := errors.Join(os.MkdirAll(filepath.Dir(record), 0o700), os.WriteFile(record, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	a.must(t, at("web", "10.0.0.1:82"))
	if a.must(t, at("shop", "10.0.0.1:81")) != "" || a.saying("10.0.0.1:81 is the address of web") != 1 {
		t.Errorf("shop has got the address of a runner of web: %q", a.Log.(*lines).lines)
	}
	if err := a.Revisions.ClearRecord(second.First()); err != nil {
		t.Fatal(err)
	}
	if a.must(t, at("shop", "10.0.0.1:81")) == "" {
		t.Error("shop has not got the address that nothing has any more")
	}
}

// A file gets its old name back while the service of that name is still going.
func TestRenameBack(t *testing.T) {
	a := newApplier(t)
	var stopped atomic.Bool
	a.Stop = func(_ context.Context, service name.Service) error {
		if service == "shop" {
			stopped.Store(true)
		}
		return nil
	}
	going := make(chan struct{})
	a.Reload = func(context.Context) error { <-going; return nil }
	a.must(t, at("web", "10.0.0.1:81"))
	shop := a.must(t, at("shop", "10.0.0.1:80"))
	if err := a.Revisions.SetGood(name.Revision{Service: "shop", Rev: shop}); err != nil {
		t.Fatal(err)
	}
	for _, change := range []source.Change{{Service: "web", Deleted: true}, at("web", "10.0.0.1:80"), {Service: "shop", Deleted: true}} {
		if err := a.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "shop waits for web", func() bool { return a.saying("shop: serves 10.0.0.1:80 until web does") == 1 })
	close(going)
	var web name.Rev
	eventually(t, "web has got the address", func() bool { web, _ = a.Revisions.Current("web"); return web != "" })
	if stopped.Load() {
		t.Error("shop stops before web serves")
	}
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: web}); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	if !stopped.Load() || a.Revisions.Deleted("shop") {
		t.Error("shop is still there")
	}
}

// Two that swap addresses wait for each other only for a moment, and one that comes back
// as it was does not wait for itself.
func TestChangePlaces(t *testing.T) {
	a := newApplier(t)
	for service, address := range map[name.Service]string{"web": "10.0.0.1:80", "shop": "10.0.0.1:81", "api": "10.0.0.1:82"} {
		if err := a.Revisions.SetGood(service.Revision(a.must(t, at(service, address)))); err != nil {
			t.Fatal(err)
		}
	}
	a.serial.Lock() // all is known before the first goes
	for _, change := range []source.Change{
		{Service: "web", Deleted: true}, {Service: "shop", Deleted: true}, {Service: "api", Deleted: true},
		at("web", "10.0.0.1:81"), at("shop", "10.0.0.1:80"), at("api", "10.0.0.1:82"),
	} {
		if err := a.attempt(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	a.serial.Unlock()
	for service, address := range map[name.Service]string{"web": "10.0.0.1:81", "shop": "10.0.0.1:80", "api": "10.0.0.1:82"} {
		eventually(t, string(service)+" is there again", func() bool {
			current, _ := a.Revisions.Current(service)
			d, err := a.Revisions.Read(service.Revision(current))
			if err != nil || d.Addresses()[0].String() != address || a.Revisions.Deleted(service) {
				return false
			}
			return a.Revisions.SetGood(service.Revision(current)) == nil
		})
	}
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Where nothing would try again, a removal that waits for a successor that failed is an
// error.
func TestRenameFails(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	web := a.must(t, at("web", "10.0.0.1:80"))
	if err := a.Revisions.SetGood(name.Revision{Service: "web", Rev: web}); err != nil {
		t.Fatal(err)
	}
	a.Reload = func(context.Context) error { // which starts shop
		shop, _ := a.Revisions.Current("shop")
		return a.Revisions.SetFailed(name.Revision{Service: "shop", Rev: shop}, "exited with status 1")
	}
	a.must(t, at("shop", "10.0.0.1:80"))
	a.must(t, source.Change{Service: "web", Deleted: true})
	if err := a.Wait(); err == nil || !strings.HasPrefix(err.Error(), "web: still serves 10.0.0.1:80, because shop, which gets that address, failed") {
		t.Errorf("got %v", err)
	}
}

// A document without an address gets the one that the host gives to the service, even if
// that comes later.
func TestAddressOfTheHost(t *testing.T) {
	const rev = "3-0123456789abcdef0123456789abcdef"
	a := newApplier(t)
	var given atomic.Value
	given.Store("")
	a.Addresses = func() (map[name.Service]netip.AddrPort, error) {
		address := given.Load().(string)
		if address == "" {
			return nil, errors.New("addresses.json: is damaged")
		}
		return map[name.Service]netip.AddrPort{"web": netip.MustParseAddrPort(address)}, nil
	}
	web := source.Change{Service: "web", Document: []byte(`{"image": "app", "port": 80}`)}
	for range 2 {
		if got := a.must(t, web); got != "" {
			t.Errorf("web is at %s without an address", got)
		}
	}
	if a.saying("addresses.json: is damaged") != 1 || a.saying("address: is missing; give the service one here") != 1 || !a.Waits("web") {
		t.Errorf("got %q", a.Log.(*lines).lines)
	}
	given.Store("10.0.0.1:80")
	eventually(t, "web is taken", func() bool { got, _ := a.Revisions.Current("web"); return got != "" })
	address := func() string {
		current, _ := a.Revisions.Current("web")
		d, err := a.Revisions.Read(name.Revision{Service: "web", Rev: current})
		if err != nil {
			t.Fatal(err)
		}
		return d.Addresses()[0].String()
	}
	if got := address(); got != "10.0.0.1:80" {
		t.Errorf("web is at %s", got)
	}
	// The document's own address comes first.
	a.must(t, at("web", "10.0.0.1:81"))
	if got := address(); got != "10.0.0.1:81" {
		t.Errorf("web is at %s", got)
	}
	// Of a database, too. The revision keeps what it got.
	web.Rev = rev
	a.must(t, web)
	given.Store("10.0.0.1:82")
	if got := a.must(t, web); got != rev || address() != "10.0.0.1:80" {
		t.Errorf("web is %s at %s", got, address())
	}
	// Nothing waits for an address if anything else is wrong.
	a.must(t, source.Change{Service: "api", Document: []byte(`{"image": "app", "port": 80, "volumes": 1}`)})
	if a.Waits("api") {
		t.Error("what is invalid anyhow waits for an address")
	}
}

// A service without an address is given one, which it keeps through everything.
func TestAddressOfThePool(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	r, err := pool.ParseRange("10.0.0.1:7000-7004")
	if err != nil {
		t.Fatal(err)
	}
	a.Pool = &pool.Pool{Range: r, Path: filepath.Join(a.Revisions.Root, ".addresses.json")}
	a.Addresses = func() (map[name.Service]netip.AddrPort, error) {
		return map[name.Service]netip.AddrPort{"listed": netip.MustParseAddrPort("10.0.0.1:7001")}, nil
	}
	a.Listening = func(at definition.Address) (netip.AddrPort, bool) { return at.AddrPort, at.Port() == 7002 }
	address := func(service name.Service, document string) string {
		t.Helper()
		rev := a.must(t, source.Change{Service: service, Document: []byte(document)})
		if rev == "" {
			return ""
		}
		d, err := a.Revisions.Read(service.Revision(rev))
		if err != nil {
			t.Fatal(err)
		}
		if d.Worker() {
			return "worker"
		}
		return d.Addresses()[0].String()
	}
	const document = `{"image": "app", "port": 80}`
	for _, c := range []struct {
		service        name.Service
		document, want string
	}{
		{"own", `{"image": "app", "port": 80, "address": "10.0.0.1:7000"}`, "10.0.0.1:7000"},
		{"worker", `{"image": "app"}`, "worker"},
		{"wrong", `{"image": "app", "port": 80, "volumes": 1}`, ""},
		{"web", document, "10.0.0.1:7003"}, // own has the first, listed the second, a program the third
		{"listed", document, "10.0.0.1:7001"},
		{"alone", `{"image": "app", "port": 80, "address": ":9000"}`, "10.0.0.1:9000"},
		{"api", document, "10.0.0.1:7004"},
		{"web", `{"image": "app:2", "port": 80}`, "10.0.0.1:7003"},
		{"late", document, ""},
	} {
		if got := address(c.service, c.document); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.service, c.document, got, c.want)
		}
	}
	if a.saying("web: gets the address 10.0.0.1:7003") != 1 || a.saying("address: no address of ADDRESSES=10.0.0.1:7000-7004 is free") != 1 {
		t.Errorf("%q", a.Log.(*lines).lines)
	}
	// It comes back, and so does what another run has given it.
	if err := a.Apply(t.Context(), source.Change{Service: "web", Deleted: true}); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := address("late", document); got != "" {
		t.Errorf("late has %s, which is web's", got)
	}
	if got := address("web", document); got != "10.0.0.1:7003" {
		t.Errorf("web came back at %s", got)
	}
	// A damaged list may have named it.
	a.Addresses = func() (map[name.Service]netip.AddrPort, error) { return nil, errors.New("addresses.json: is damaged") }
	if got := address("new", document); got != "" || a.saying("new: is given") != 0 {
		t.Errorf("new has %s", got)
	}
}

func TestPortsOfTheHost(t *testing.T) {
	a := newApplier(t)
	var listens atomic.Bool
	listens.Store(true)
	a.Listening = func(address definition.Address) (netip.AddrPort, bool) { return address.AddrPort, listens.Load() }
	if a.must(t, at("web", "10.0.0.1:22")) != "" || a.saying("web 1-") != 1 || a.saying("a program of this host listens on 10.0.0.1:22") != 1 {
		t.Errorf("got %q", a.Log.(*lines).lines)
	}
	listens.Store(false)
	eventually(t, "web gets the port", func() bool { got, _ := a.Revisions.Current("web"); return got != "" })
	// What it has it keeps.
	listens.Store(true)
	edited := at("web", "10.0.0.1:22")
	edited.Document = []byte(strings.Replace(string(edited.Document), "app", "app:2", 1))
	if got := a.must(t, edited); !strings.HasPrefix(string(got), "2-") {
		t.Errorf("current is %q", got)
	}
}

func TestListens(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20105 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20106 1
   2: 010011AC:1B59 020011AC:C001 01 00000000:00000000 00:00000000 00000000     0        0 20107 1
   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1
   4: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1
   5: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1
   6: x:y z 0A
`
	for address, want := range map[string]string{
		"172.17.0.1:22":    "0.0.0.0:22",
		"[2001:db8::1]:22": "",
		"172.17.0.1:8080":  "",
		"127.0.0.1:8080":   "127.0.0.1:8080",
		"172.17.0.1:7001":  "", // a connection, and nothing that listens
		"172.17.0.1:80":    "[::]:80",
		"[2001:db8::1]:80": "[::]:80",
		"127.0.0.1:81":     "[::ffff:127.0.0.1]:81",
		"[2001:db8::1]:82": "[2001:db8::1]:82",
	} {
		got := ""
		if socket, is := listens(table, definition.Address{AddrPort: netip.MustParseAddrPort(address), Protocol: definition.TCP}); is {
			got = socket.String()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}

// The kernel's own tables have a socket that listens.
func TestListening(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for protocol, socket := range map[string]net.Addr{definition.TCP: tcp.Addr(), definition.UDP: udp.LocalAddr()} {
		address := definition.Address{AddrPort: netip.MustParseAddrPort(socket.String()), Protocol: protocol}
		if got, is := Listening(address); !is || got != address.AddrPort {
			t.Errorf("%s %s: got %v, %v", protocol, socket, got, is)
		}
	}
	tcp.Close()
	address := definition.Address{AddrPort: netip.MustParseAddrPort(tcp.Addr().String()), Protocol: definition.TCP}
	if got, is := Listening(address); is {
		t.Errorf("nothing listens at %s any more: got %v", address, got)
	}
}

func TestTraps(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{"/lib/systemd/system/getty@.service", "/usr/lib/systemd/system/app-.service.d/x.conf", "/usr/lib/systemd/system/vendor@.service.d/x.conf",
		"/etc/systemd/system/mine@.service.d/x.conf", "/etc/systemd/system/hand@.service", "/usr/lib/systemd/system/plain.service"} {
		if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{ipvs.NoteFolder, ipvs.HoldFolder, string(running.Host)} {
		if service := filepath.Base(folder); trap(root, service) == "" {
			t.Errorf("%s may be the name of a service, whose removal would remove %s", service, folder)
		}
	}
	for service, want := range map[string]string{
		"conntrack-4026531833": "/run/service-manager/conntrack-", "user": "user@", "sm-start": `"sm-"`, "systemd-x": `"systemd-"`, "getty": "getty@.service", "hand": "hand@.service",
		"app-one": "app-.service.d", "vendor": "vendor@.service.d", "app": "", "apps-one": "", "mine": "", "plain": "", "web": "",
	} {
		if why := trap(root, service); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: got %q, want one with %q", service, why, want)
		}
	}
	a := newApplier(t)
	a.Root = root
	if a.must(t, at("getty", "10.0.0.1:80")) != "" || a.saying(`_id: must not be "getty": its units would be instances of /lib/systemd/system/getty@.service`) != 1 {
		t.Errorf("got %q", a.Log.(*lines).lines)
	}
}

func TestLimitsOfAHost(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	a.must(t, at("web", "10.0.0.1:80"))
	for i := range definition.MaxServices - 2 {
		a.claims.byService[name.Service(fmt.Sprint("s", i))] = claim{links: [2]name.Rev{"x"}, size: definition.MaxTotal/definition.MaxServices - 1}
	}
	d, err := definition.Parse("last", "1-0123456789abcdef0123456789abcdef", at("last", "10.0.0.1:81").Document)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.admit(d, 100); err != nil {
		t.Error(err)
	}
	// It is believed only after another look at the disk.
	a.claims.byService["more"] = claim{}
	if err := a.admit(d, 100); err != nil || len(a.claims.byService) != 1 {
		t.Errorf("got %v, and %d services", err, len(a.claims.byService))
	}
	if !a.outgrows(1, func(claim) int { return 1 }, claim{}, 1) {
		t.Error("two services are not more than one")
	}
	web := a.claimOf("web")
	if a.outgrows(web.size, func(c claim) int { return c.size }, web, web.size) || !a.outgrows(web.size, func(c claim) int { return c.size }, web, web.size+1) {
		t.Error("a definition does not count in place of the one before")
	}
}

func TestReplicasOfAHost(t *testing.T) {
	a := newApplier(t)
	a.Retry = 0
	document := func(port, replicas int) string {
		return fmt.Sprintf(`{"image": "a", "address": "10.0.0.1:%d", "port": 80, "replicas": %d}`, port, replicas)
	}
	const rev = "1-0123456789abcdef0123456789abcdef"
	const each = name.MaxReplicas
	for i := range definition.MaxServices/each - 1 {
		r := name.Service(fmt.Sprint("s", i)).Revision(rev)
		if err := errors.Join(a.Revisions.Save(r, []byte(document(1000+i, each))), a.Revisions.SetCurrent(r)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		service  string
		replicas int
		want     string
	}{
		{"web", each / 2, ""},
		{"more", each/2 + 1, "replicas: the services of this host would have more than 2000 replicas; lower some, or delete some services"},
		{"more", each / 2, ""},
		{"web", each/2 + 1, "replicas: the services of this host would have more than 2000 replicas; lower some, or delete some services"},
		{"web", 1, ""},
		{"more", each, "replicas: "},
		{"more", each - 1, ""},
	} {
		a.Log.(*lines).lines = nil
		port := map[string]int{"web": 80, "more": 81}[test.service]
		current := a.must(t, source.Change{Service: name.Service(test.service), Document: []byte(document(port, test.replicas))})
		if n := a.saying("replicas: "); (n == 0) != (test.want == "") || test.want != "" && a.saying(test.want) == 0 {
			t.Errorf("%s with %d replicas: %q; want %q", test.service, test.replicas, a.Log.(*lines).lines, test.want)
		}
		if test.want == "" {
			// As it is once it has served, so that the next number is no rollout.
			serves(t, a, name.Service(test.service), current)
		}
	}
}
