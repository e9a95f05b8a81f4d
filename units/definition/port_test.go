package definition

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
)

func TestWithIP(t *testing.T) {
	four, six := netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fd00::1")
	for _, test := range []struct {
		ip             netip.Addr
		document, want string
	}{
		{four, `{"address": ":7001", "port": 80}`, `{"address": "172.17.0.1:7001", "port": 80}`},
		{six, ` {"port": 80, "address":":7001"} `, ` {"port": 80, "address":"[fd00::1]:7001"} `},
		{four, `{"endpoints": [{"address": ":53", "protocol": "udp"}, {"address": "10.0.0.1:53"}, 7, {"port": 1}, {"address":":54"}], "address": ":1"}`,
			`{"endpoints": [{"address": "172.17.0.1:53", "protocol": "udp"}, {"address": "10.0.0.1:53"}, 7, {"port": 1}, {"address":"172.17.0.1:54"}], "address": "172.17.0.1:1"}`},
		{four, `{"address": "\u003a7001"}`, `{"address": "172.17.0.1:7001"}`},
		// The parser refuses these.
		{four, `{"address": ":0"}`, `{"address": ":0"}`},
		{four, `{"address": ":65536"}`, `{"address": ":65536"}`},
		{four, `{"address": ":+1"}`, `{"address": ":+1"}`},
		{four, `{"address": 7001}`, `{"address": 7001}`},
		{four, `{"address": "7001"}`, `{"address": "7001"}`},
		{four, `{"endpoints": {"address": ":1"}}`, `{"endpoints": {"address": ":1"}}`},
		{four, `{"environment": {"address": ":1"}}`, `{"environment": {"address": ":1"}}`},
		{four, `{"endpoints": []`, `{"endpoints": []`},
		{four, `[":1"]`, `[":1"]`},
	} {
		if got := string(WithIP([]byte(test.document), test.ip)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.document, got, test.want)
		}
	}
}

// Nothing changes but addresses that are only a port, and a document stays one.
func FuzzWithIP(f *testing.F) {
	f.Add([]byte(`{"endpoints": [{"address": ":53"}, []], "address": ":1", "x": {"address": ":2"}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		before := bytes.Clone(document)
		got := WithIP(document, netip.MustParseAddr("10.0.0.1"))
		if !bytes.Equal(document, before) {
			t.Fatal("the document itself has changed")
		}
		if json.Valid(document) != json.Valid(got) {
			t.Errorf("%q became %q", document, got)
		}
		if again := WithIP(got, netip.MustParseAddr("10.0.0.2")); !bytes.Equal(again, got) {
			t.Errorf("%q became %q, and then %q", document, got, again)
		}
		if !bytes.Contains(document, []byte(":")) && !bytes.Equal(got, document) {
			t.Errorf("%q became %q", document, got)
		}
	})
}
