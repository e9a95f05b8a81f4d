package reach

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Whether a connection waits for an answer cannot be read from the times at which
// either side has sent: they are known to 4 ms, and a client that is near sends its next
// request sooner. So two sets of the table say who has sent last, for those destinations
// only that are to be watched: watched and answered.

const (
	// remembered is how long a connection counts as answered without a packet: a client
	// that vanishes never ends it.
	remembered = time.Hour
	// most is how many connections there can be in the set: they take some 100 bytes
	// each. What has no place there is not known to be answered.
	most = 1 << 17
	// What a rule does to a set; see linux/netfilter/nf_tables.h.
	update, remove = 1, 2
	// headers is how many bytes those of a packet may have without anything behind them.
	headers = 120
)

// Flags of TCP. The last packet of what a program writes at a time has push.
const (
	fin = 1 << iota
	syn
	reset
	push
)

// hasFlags compares those flags of a packet of TCP.
func hasFlags(op expr.CmpOp, flags byte) []expr.Any {
	return join(is(unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin | syn | reset | push}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{flags}},
	})
}

// isIn tests whether that end of a packet is in the set.
func (f family) isIn(set *nftables.Set, which int) []expr.Any {
	return []expr.Any{
		f.load(which, first),
		loadPort(which, first+f.words()),
		&expr.Lookup{SourceRegister: first, SetName: set.Name},
	}
}

// note adds the connection of a packet to the set, or removes it, by the end that is the
// client's.
func (f family) note(set *nftables.Set, operation uint32, client int) []expr.Any {
	words := f.words()
	other := source + destination - client
	return []expr.Any{
		f.load(client, first),
		loadPort(client, first+words),
		f.load(other, first+words+1),
		loadPort(other, first+2*words+1),
		&expr.Dynset{SrcRegKey: first, SetName: set.Name, Operation: operation},
	}
}

// Answered returns the clients of those connections to a watched destination in which
// the destination has sent last.
func Answered(to netip.AddrPort) (map[netip.AddrPort]bool, error) {
	clients, err := familyOf(to).clients(to)
	if err != nil {
		return nil, fmt.Errorf("read the table %s of nftables: %w", tableName, err)
	}
	return clients, nil
}

func (f family) clients(to netip.AddrPort) (map[netip.AddrPort]bool, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	elements, err := elementsOf(c, newTable(f).answered)
	if err != nil {
		return nil, err
	}
	clients := make(map[netip.AddrPort]bool)
	size := f.size()
	for _, e := range elements {
		if len(e.Key) < 2*(size+4) {
			continue
		}
		if place(e.Key[size+4:], size) == to {
			clients[place(e.Key, size)] = true
		}
	}
	return clients, nil
}

// place reads an address and a port from the key of an element.
func place(key []byte, size int) netip.AddrPort {
	address, _ := netip.AddrFromSlice(key[:size])
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(key[size:]))
}

// Unwatch ends what Path.Watch has begun.
func Unwatch(to netip.AddrPort) error {
	if err := familyOf(to).unwatch(to); err != nil {
		return fmt.Errorf("remove %s from the table %s of nftables: %w", to, tableName, err)
	}
	return nil
}

func (f family) unwatch(to netip.AddrPort) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	set, element := newTable(f).watched, placeElement(to)
	elements, err := elementsOf(c, set)
	if err != nil || !has(elements, element) {
		return err
	}
	if err := c.SetDeleteElements(set, []nftables.SetElement{element}); err != nil {
		return err
	}
	return c.Flush()
}
