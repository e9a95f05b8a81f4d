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

// Whether a connection waits for an answer cannot be read from the times at which either
// side sent: they are accurate to 4 ms, and a client nearby sends its next request
// sooner. So two sets of the table, watched and answered, record who sent last, only for
// those destinations that are to be watched.

const (
	// remembered is how long a connection counts as answered without a packet: a client
	// that vanishes never ends it.
	remembered = time.Hour
	// most is how many connections the set may hold, at some 100 bytes each. One that
	// finds no room is not known to be answered.
	most = 1 << 17
	// What a rule does to a set; see linux/netfilter/nf_tables.h.
	update, remove = 1, 2
	// headers is how many bytes the headers of a packet without data may have.
	headers = 120
)

// TCP flags. The last packet of what a program writes at once has push.
const (
	fin = 1 << iota
	syn
	reset
	push
)

// hasFlags compares those flags of a TCP packet.
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

// note adds a packet's connection to the set, or removes it. Its key has the client's end
// first; client says which end of the packet that is.
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

// Answered returns the clients of the connections to a watched destination on which the
// destination sent last.
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

// Unwatch undoes Path.Watch.
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
