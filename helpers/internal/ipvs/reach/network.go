package reach

import (
	"bytes"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// A span is the range from one address to another, inclusive, which is how nftables
// stores networks.
type span struct{ first, last netip.Addr }

func spanOf(prefix netip.Prefix) span {
	last := prefix.Masked().Addr().AsSlice()
	for bit := max(0, prefix.Bits()); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return span{prefix.Masked().Addr(), addr}
}

func (s span) overlaps(other span) bool {
	return !s.last.Less(other.first) && !other.last.Less(s.first)
}

// elements returns the two elements that stand for a span: its first address, and the one
// after its last.
func (s span) elements() []nftables.SetElement {
	elements := []nftables.SetElement{{Key: s.first.AsSlice()}}
	if behind := s.last.Next(); behind.IsValid() {
		elements = append(elements, nftables.SetElement{Key: behind.AsSlice(), IntervalEnd: true})
	}
	return elements
}

// spans returns the spans that the elements of a set stand for.
func spans(elements []nftables.SetElement) []span {
	sorted := slices.SortedFunc(slices.Values(elements), func(a, b nftables.SetElement) int {
		if order := bytes.Compare(a.Key, b.Key); order != 0 || a.IntervalEnd == b.IntervalEnd {
			return order
		}
		if a.IntervalEnd {
			return -1
		}
		return 1
	})
	var list []span
	for i, e := range sorted {
		addr, ok := netip.AddrFromSlice(e.Key)
		switch {
		case !ok:
		case e.IntervalEnd && len(list) > 0 && !sorted[i-1].IntervalEnd:
			list[len(list)-1].last = addr.Prev()
		case !e.IntervalEnd:
			list = append(list, span{addr, spanOf(netip.PrefixFrom(addr, 0)).last})
		}
	}
	return list
}

// bridged returns the network of the bridge that an address is on. Clients on the same
// one would be answered directly, bypassing the host.
func bridged(address netip.Addr) (netip.Prefix, bool) {
	routes, err := netlink.RouteGet(address.AsSlice())
	if err != nil || len(routes) == 0 || len(routes[0].Gw) > 0 {
		return netip.Prefix{}, false
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil || link.Type() != "bridge" {
		return netip.Prefix{}, false
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, a := range addrs {
		if prefix := prefixOf(a.IPNet); prefix.Contains(address) {
			return prefix.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}
