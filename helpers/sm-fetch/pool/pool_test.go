package pool

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"service-manager/units/name"
)

func TestParseRange(t *testing.T) {
	for text, want := range map[string]string{
		"172.17.0.1:7000-7999":    "172.17.0.1:7000-7999",
		"[fd00::1]:7000-7000":     "[fd00::1]:7000-7000",
		"172.17.0.1:65535-65535":  "172.17.0.1:65535-65535",
		"":                        `must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999 (got "")`,
		"172.17.0.1:7000":         `must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999 (got "172.17.0.1:7000")`,
		"localhost:7000-7999":     `must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999: the first address must be IP:port or [IPv6]:port (got "localhost:7000-7999")`,
		"127.0.0.1:7000-7999":     `must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999: the first address must not be a loopback address, which the kernel cannot balance; use another address of the host, such as docker0's (got "127.0.0.1:7000-7999")`,
		"172.17.0.1:7000-6999":    `must have a last port from the first one to 65535 (got "172.17.0.1:7000-6999")`,
		"172.17.0.1:7000-65536":   `must have a last port from the first one to 65535 (got "172.17.0.1:7000-65536")`,
		"172.17.0.1:7000- 7999":   `must have a last port from the first one to 65535 (got "172.17.0.1:7000- 7999")`,
		"172.17.0.1:7000-7999\nX": `must have a last port from the first one to 65535 (got "172.17.0.1:7000-7999\nX")`,
	} {
		r, err := ParseRange(text)
		got := r.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("172.17.0.1:7000-7999")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r || !r.has(r.First()) {
			t.Errorf("%q is %s, which is %s, %v", text, r, again, err)
		}
	})
}

func newPool(t *testing.T, text string) *Pool {
	t.Helper()
	r, err := ParseRange(text)
	if err != nil {
		t.Fatal(err)
	}
	return &Pool{Range: r, Path: filepath.Join(t.TempDir(), "revisions", ".addresses.json")}
}

func free(netip.AddrPort) bool { return false }

func TestGive(t *testing.T) {
	p := newPool(t, "10.0.0.1:7000-7003")
	give := func(service name.Service, want string, wantNew bool, taken func(netip.AddrPort) bool, before ...netip.AddrPort) {
		t.Helper()
		address, isNew, err := p.Give(t.Context(), service, before, taken)
		if err != nil || address.String() != want || isNew != wantNew {
			t.Errorf("%s: got %s, new %t, %v; want %s, %t", service, address, isNew, err, want, wantNew)
		}
	}
	is := func(taken string) func(netip.AddrPort) bool {
		return func(a netip.AddrPort) bool { return a.String() == taken }
	}
	give("web", "10.0.0.1:7001", true, is("10.0.0.1:7000"))
	give("api", "10.0.0.1:7000", true, free)
	// What was given is not asked about again.
	give("web", "10.0.0.1:7001", false, is("10.0.0.1:7001"))
	// What a service has it keeps, if it is one of these and no other service's.
	give("db", "10.0.0.1:7003", true, free, netip.MustParseAddrPort("10.0.0.2:7002"), netip.MustParseAddrPort("10.0.0.1:7001"), netip.MustParseAddrPort("10.0.0.1:7003"))
	give("dns", "10.0.0.1:7002", true, free)
	if _, _, err := p.Give(t.Context(), "mail", nil, free); err == nil || err.Error() != "no address of ADDRESSES=10.0.0.1:7000-7003 is free" {
		t.Errorf("a fifth one: %v", err)
	}
	want := `[
{"name":"api","address":"10.0.0.1:7000"},
{"name":"db","address":"10.0.0.1:7003"},
{"name":"dns","address":"10.0.0.1:7002"},
{"name":"web","address":"10.0.0.1:7001"}
]
`
	if text, err := os.ReadFile(p.Path); err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	// With another range, too.
	p.Range, _ = ParseRange("10.0.0.9:80-80")
	give("web", "10.0.0.1:7001", false, free)
	give("mail", "10.0.0.9:80", true, free)
}

// Damage gives no service another address.
func TestGiveWithDamage(t *testing.T) {
	p := newPool(t, "10.0.0.1:7000-7003")
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{}", `[{"name": "web", "address": "10.0.0.1:70000"}]`} {
		if err := os.WriteFile(p.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Give(t.Context(), "web", nil, free); err == nil || !strings.HasPrefix(err.Error(), p.Path+": ") {
			t.Errorf("%q: %v", text, err)
		}
		if after, err := os.ReadFile(p.Path); err != nil || string(after) != text {
			t.Errorf("%q became %q, %v", text, after, err)
		}
	}
}

// Several processes give addresses at the same time.
func TestGiveAtTheSameTime(t *testing.T) {
	p := newPool(t, "10.0.0.1:7000-7999")
	const many = 20
	var given [many]netip.AddrPort
	var group sync.WaitGroup
	for i := range many {
		group.Add(1)
		go func() {
			defer group.Done()
			other := &Pool{Range: p.Range, Path: p.Path}
			var err error
			if given[i], _, err = other.Give(t.Context(), name.Service(fmt.Sprintf("s%d", i)), nil, free); err != nil {
				t.Error(err)
			}
		}()
	}
	group.Wait()
	seen := map[netip.AddrPort]bool{}
	for _, address := range given {
		if seen[address] {
			t.Errorf("%s was given twice", address)
		}
		seen[address] = true
	}
	if all, err := p.Given(); err != nil || len(all) != many {
		t.Errorf("%d are noted, %v", len(all), err)
	}
}
