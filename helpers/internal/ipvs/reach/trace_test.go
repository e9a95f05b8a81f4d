package reach

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// message is a message of the kernel about a packet.
func message(family byte, kind, verdict, policy uint32) []byte {
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

func TestParseEvent(t *testing.T) {
	const accepts, next = 1, 1<<32 - 1
	for name, test := range map[string]struct {
		message []byte
		want    Drop
		ok      bool
	}{
		"a rule drops":     {message(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0), Drop{"ip", "filter", "INPUT", 14}, true},
		"a rule accepts":   {message: message(unix.NFPROTO_IPV4, traceRule, accepts, 0)},
		"a rule goes on":   {message: message(unix.NFPROTO_IPV4, traceRule, next, 0)},
		"a policy drops":   {message(unix.NFPROTO_INET, tracePolicy, 0, verdictDrop), Drop{"inet", "filter", "INPUT", 0}, true},
		"a policy accepts": {message: message(unix.NFPROTO_IPV6, tracePolicy, 0, accepts)},
		"a chain returns":  {message: message(unix.NFPROTO_IPV4, 2, 0, 0)},
		"too short":        {message: []byte{2}},
		"cut off":          {message: message(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0)[:30]},
	} {
		e, ok := parseEvent(test.message)
		if e.dropped && ok != test.ok || test.ok && e.Drop != test.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, e, ok, test.want, test.ok)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(message(unix.NFPROTO_IPV4, traceRule, verdictDrop, 0))
	f.Add(message(unix.NFPROTO_INET, tracePolicy, 0, verdictDrop))
	f.Fuzz(func(_ *testing.T, message []byte) { parseEvent(message) })
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

// What has dropped a TCP segment counts and, if there was none, what has dropped other
// packets; our own table does not.
func TestSeen(t *testing.T) {
	trace := &trace{protocols: make(map[uint32]uint8)}
	solicitation, segment, ours := Drop{Chain: "forward"}, Drop{Chain: "input"}, Drop{Table: "service-manager"}
	trace.note(event{Drop: solicitation, packet: 1, protocol: unix.IPPROTO_ICMPV6, dropped: true})
	trace.note(event{Drop: ours, packet: 1, dropped: true})
	if got := trace.seen(); len(got) != 1 || got[0] != solicitation {
		t.Errorf("seen %v", got)
	}
	trace.note(event{packet: 2, protocol: unix.IPPROTO_TCP})
	trace.note(event{Drop: segment, packet: 2, dropped: true})
	if got := trace.seen(); len(got) != 1 || got[0] != segment {
		t.Errorf("seen %v", got)
	}
}

func TestProtocolOf(t *testing.T) {
	four, six := make([]byte, 20), make([]byte, 40)
	four[0], four[9], six[0], six[6] = 0x45, unix.IPPROTO_TCP, 0x60, unix.IPPROTO_ICMPV6
	for _, test := range []struct {
		header []byte
		want   uint8
	}{{four, unix.IPPROTO_TCP}, {six, unix.IPPROTO_ICMPV6}, {four[:19], 0}, {six[:39], 0}, {nil, 0}} {
		if got := protocolOf(test.header); got != test.want {
			t.Errorf("protocolOf(%x) = %d; want %d", test.header, got, test.want)
		}
	}
}
