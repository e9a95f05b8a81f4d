package definition

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"service-manager/units/name"
)

func TestParseAddresses(t *testing.T) {
	web, shop := netip.MustParseAddrPort("172.17.0.1:7000"), netip.MustParseAddrPort("[fd00::1]:7001")
	for _, test := range []struct {
		name, text string
		want       map[name.Service]netip.AddrPort
		err        string
	}{
		{"two", `[{"name": "web", "address": "172.17.0.1:7000"}, {"address": "[fd00::1]:7001", "name": "shop"}]`,
			map[name.Service]netip.AddrPort{"web": web, "shop": shop}, ""},
		{"none", ` []`, nil, ""},
		{"members of others", `[{"name": "web", "address": "172.17.0.1:7000", "replicas": 2}]`, map[name.Service]netip.AddrPort{"web": web}, ""},
		{"one is wrong", `[{"name": "web", "address": "172.17.0.1:7000"}, {"name": "shop", "address": "7001"}]`,
			map[name.Service]netip.AddrPort{"web": web}, `[1].address: must be IP:port or [IPv6]:port (got "7001")`},
		{"twice", `[{"name": "web", "address": "172.17.0.1:7000"}, {"name": "web", "address": "172.17.0.1:7001"}]`,
			map[name.Service]netip.AddrPort{"web": web}, `[1].name: "web" has an address further up`},
		{"a hostile name", `[{"name": "../web", "address": "172.17.0.1:7000"}, 7, {"name": "a", "name": "b"}]`, nil,
			`[0].name: must be made of a-z, 0-9 and "-", and not begin with "-" (got "../web"); [1]: must be an object (got a number); [2]: has name twice`},
		{"loopback", `[{"name": "web", "address": "127.0.0.1:7000"}]`, nil, `[0].address: must not be a loopback address, which`},
		{"no members", `[{}]`, nil, "[0].name: is missing"},
		{"no address", `[{"name": "web"}]`, nil, "[0].address: is missing"},
		{"an object", `{"web": "172.17.0.1:7000"}`, nil, `must be a list of objects like {"name": "web", "address": "172.17.0.1:7001"} (got an object)`},
		{"null", `null`, nil, "must be a list of objects"},
		{"cut off", `[{"name": "web"`, nil, "is not JSON: it ends too early"},
		{"empty", ``, nil, "is not JSON: it ends too early"},
		{"many", "[" + strings.Repeat("1,", 29) + "1]", nil, "; and 10 more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			have, err := ParseAddresses([]byte(test.text))
			if !maps.Equal(have, test.want) {
				t.Errorf("addresses %v; want %v", have, test.want)
			}
			switch {
			case err == nil && test.err != "", err != nil && test.err == "", err != nil && !strings.Contains(err.Error(), test.err):
				t.Errorf("error %v; want %q", err, test.err)
			}
		})
	}
}

func FuzzParseAddresses(f *testing.F) {
	f.Add([]byte(`[{"name": "web", "address": "172.17.0.1:7000"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		addresses, err := ParseAddresses(text)
		for service, address := range addresses {
			if _, err := name.ParseService(string(service)); err != nil || !address.IsValid() || address.Port() == 0 {
				t.Errorf("%q has %v", service, address)
			}
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("the error has more than one line: %q", err)
		}
	})
}

// The documents of a host that gives out the addresses need none.
func TestWithAddress(t *testing.T) {
	address := netip.MustParseAddrPort("172.17.0.1:7000")
	for _, test := range []struct{ name, document, want string }{
		{"none", `{"image": "nginx", "port": 80}`, `{"address":"172.17.0.1:7000","image": "nginx", "port": 80}`},
		{"one of its own", `{"port": 80, "address": "10.0.0.1:80"}`, `{"port": 80, "address": "10.0.0.1:80"}`},
		{"a wrong one", `{"address": null}`, `{"address": null}`},
		{"an escaped one", `{"\u0061ddress": "10.0.0.1:80"}`, `{"\u0061ddress": "10.0.0.1:80"}`},
		{"inside", `{"environment": {"address": "x"}}`, `{"address":"172.17.0.1:7000","environment": {"address": "x"}}`},
		{"empty", ` { } `, ` {"address":"172.17.0.1:7000" } `},
		{"no object", `["a"]`, `["a"]`},
		{"cut off", `{"image": "n`, `{"image": "n`},
	} {
		t.Run(test.name, func(t *testing.T) {
			document := []byte(test.document)
			if have := string(WithAddress(document, address)); have != test.want {
				t.Errorf("WithAddress = %s; want %s", have, test.want)
			}
			if string(document) != test.document {
				t.Errorf("the document itself became %s", document)
			}
		})
	}
}

func FuzzWithAddress(f *testing.F) {
	f.Add([]byte(`{"image": "nginx"}`))
	f.Add([]byte(`{ }`))
	f.Fuzz(func(t *testing.T, document []byte) {
		have := WithAddress(document, netip.MustParseAddrPort("172.17.0.1:7000"))
		if json.Valid(document) != json.Valid(have) {
			t.Errorf("%q became %q", document, have)
		}
		if string(have) != string(document) && !HasAddress(have) {
			t.Errorf("%q has no address", have)
		}
	})
}

// Where no address is given, the message says where it can be.
func TestNoAddress(t *testing.T) {
	_, err := Parse("web", rev, []byte(`{"image": "nginx", "port": 80}`))
	if err == nil || !strings.Contains(err.Error(), "address: is missing") || !strings.Contains(err.Error(), Addresses) {
		t.Errorf("Parse: %v; want both places of an address", err)
	}
}
