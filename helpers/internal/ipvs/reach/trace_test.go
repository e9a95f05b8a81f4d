package reach

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// event is a message of the kernel about a packet.
func event(family byte, kind, verdict, policy uint32) []byte {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Uint32(unix.NFTA_TRACE_ID, 7)
	e.Uint32(unix.NFTA_TRACE_TYPE, kind)
	e.String(unix.NFTA_TRACE_TABLE, "filter")
	e.String(unix.NFTA_TRACE_CHAIN, "INPUT")
	if kind == traceRule {
		e.Uint64(unix.NFTA_TRACE_RULE_HANDLE, 14)
		e.Nested(unix.NFTA_TRACE_VERDICT, func(nested *netlink.AttributeEncoder) error {
			nested.ByteOrder = binary.BigEndian
			nested.Uint32(verdictCode, verdict)
			return nil
		})
	} else {
		e.Uint32(unix.NFTA_TRACE_POLICY, policy)
	}
	bytes, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return append([]byte{family, 0, 0, 0}, bytes...)
}

func TestParseDrop(t *testing.T) {
	const accepts, next = 1, 1<<32 - 1
	for name, test := range map[string]struct {
		message []byte
		want    Drop
		ok      bool
	}{
		"a rule drops":     {event(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0), Drop{"ip", "filter", "INPUT", 14}, true},
		"a rule accepts":   {message: event(unix.NFPROTO_IPV4, traceRule, accepts, 0)},
		"a rule goes on":   {message: event(unix.NFPROTO_IPV4, traceRule, next, 0)},
		"a policy drops":   {event(unix.NFPROTO_INET, tracePolicy, 0, verdictDrop), Drop{"inet", "filter", "INPUT", 0}, true},
		"a policy accepts": {message: event(unix.NFPROTO_IPV6, tracePolicy, 0, accepts)},
		"a chain returns":  {message: event(unix.NFPROTO_IPV4, 2, 0, 0)},
		"too short":        {message: []byte{2}},
		"cut off":          {message: event(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0)[:30]},
	} {
		d, ok := parseDrop(test.message)
		if ok != test.ok || ok && d != test.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, d, ok, test.want, test.ok)
		}
	}
}

func FuzzParseDrop(f *testing.F) {
	f.Add(event(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0))
	f.Add(event(unix.NFPROTO_INET, tracePolicy, 0, verdictDrop))
	f.Fuzz(func(_ *testing.T, message []byte) { parseDrop(message) })
}

func TestLastOf(t *testing.T) {
	for here, want := range map[string]string{
		"172.17.0.1/16": "172.17.255.254/16", "10.0.0.254/24": "10.0.0.253/24", "192.168.7.1/30": "192.168.7.2/30",
		"10.1.2.1/20": "10.1.15.254/20", "fd00::1/64": "fd00::ffff:ffff:ffff:fffe/64", "fd00:0:0:1::1/122": "fd00:0:0:1::3e/122",
	} {
		if got := lastOf(netip.MustParsePrefix(here)); got.String() != want {
			t.Errorf("lastOf(%s) = %s; want %s", here, got, want)
		}
	}
}
