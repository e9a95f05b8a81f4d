package reach

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
)

func TestSpans(t *testing.T) {
	for _, prefixes := range [][]string{
		{"172.17.0.0/16"},
		{"172.17.0.0/16", "172.18.0.0/16"}, // the one ends where the other begins
		{"10.0.0.0/30", "172.17.0.5/32", "192.168.0.0/24"},
		{"255.255.255.0/24"}, // nothing comes after it
		{"0.0.0.0/0"},
		{"fd00:17::/64", "fd00:18::/64"},
		{"ffff::/16"},
	} {
		var want []span
		var elements []nftables.SetElement
		for _, p := range prefixes {
			s := spanOf(netip.MustParsePrefix(p))
			want = append(want, s)
			elements = append(elements, s.elements()...)
		}
		slices.Reverse(elements) // the kernel has an order of its own
		if got := spans(elements); !slices.Equal(got, want) {
			t.Errorf("%v became %v", want, got)
		}
	}
	// This program does not write it, so it must only not fail.
	spans([]nftables.SetElement{{Key: []byte{1}}, {Key: []byte{10, 0, 0, 0}, IntervalEnd: true}})
}

func TestSpansOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"172.17.0.0/16", "172.17.0.0/24", true},
		{"172.17.0.0/16", "172.17.255.255/32", true},
		{"172.17.0.0/16", "172.18.0.0/16", false},
		{"fd00:17::/64", "fd00:17::/48", true},
		{"fd00:17::/64", "fd00:17:0:1::/64", false},
	} {
		a, b := spanOf(netip.MustParsePrefix(c.a)), spanOf(netip.MustParsePrefix(c.b))
		if a.overlaps(b) != c.want || b.overlaps(a) != c.want {
			t.Errorf("%s overlaps %s: want %t", c.a, c.b, c.want)
		}
	}
}
