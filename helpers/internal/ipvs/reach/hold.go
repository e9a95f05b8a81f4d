package reach

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Target is an address that clients send packets to.
type Target struct {
	Address  netip.AddrPort
	Protocol uint8 // IPPROTO_TCP, say
}

// elements returns what the targets of a family are in a set of addresses.
func (f family) elements(targets []Target) (elements []nftables.SetElement) {
	for _, t := range targets {
		if familyOf(t.Address) == f {
			elements = append(elements, addressElement(t.Address, t.Protocol))
		}
	}
	return elements
}

// Held is what the kernel holds back from addresses: the first packet of each TCP
// connection, and every UDP datagram. The nftables tables that do so go with this
// process, even if it is killed.
type Held struct {
	queue  *queue
	conn   *nftables.Conn
	tables []*nftables.Table
}

// Hold holds back packets to the addresses, from this host and from elsewhere. Open
// connections continue.
func Hold(targets ...Target) (*Held, error) {
	q, err := openQueue()
	if err != nil {
		return nil, err
	}
	h := &Held{queue: q}
	if h.conn, err = nftables.New(nftables.AsLasting()); err == nil {
		for _, family := range families {
			if err = h.hold(family, targets); err != nil {
				break
			}
		}
		if err == nil {
			err = h.conn.Flush()
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a table of nftables that holds packets: %w", err), h.close())
	}
	return h, nil
}

// owned is the flag of a table that the kernel removes with the connection that made it.
const owned = 2

// hold adds the table of a family.
func (h *Held) hold(f family, targets []Target) error {
	elements := f.elements(targets)
	if len(elements) == 0 {
		return nil
	}
	table := &nftables.Table{Name: fmt.Sprintf("%s-hold-%d", tableName, h.queue.number), Family: nftables.TableFamily(f), Flags: owned}
	addresses := f.addressSet(table)
	h.tables = append(h.tables, h.conn.AddTable(table))
	if err := h.conn.AddSet(addresses, elements); err != nil {
		return err
	}
	keep := []expr.Any{&expr.Queue{Num: h.queue.number}}
	// Before the kernel looks up the connection: a datagram would keep belonging to one
	// that is forgotten by the time it continues.
	first := nftables.ChainPriorityRaw
	rules := []rule{
		{"connections that begin", join(hasFlags(expr.CmpOpEq, syn), f.isSentTo(addresses), keep)},
		{"datagrams", join(is(unix.IPPROTO_UDP), f.isSentTo(addresses), keep)},
	}
	chain{&nftables.Chain{Table: table, Name: "arriving", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: first}, rules}.put(h.conn)
	chain{&nftables.Chain{Table: table, Name: "leaving", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: first}, rules}.put(h.conn)
	return nil
}

// Packets returns how many packets are held: one for each connection of TCP.
func (h *Held) Packets() int { return h.queue.length() }

// underway is how long a packet may take from a rule to the queue.
const underway = 20 * time.Millisecond

// Release lets the packets continue, and holds no more.
func (h *Held) Release() error {
	problems := []error{h.queue.acceptAll()}
	// Without the chains, the kernel would drop what came meanwhile.
	for _, table := range h.tables {
		h.conn.FlushTable(table)
	}
	problems = append(problems, h.conn.Flush())
	time.Sleep(underway)
	problems = append(problems, h.queue.acceptAll())
	for _, table := range h.tables {
		h.conn.DelTable(table)
	}
	return errors.Join(append(problems, h.conn.Flush(), h.close())...)
}

func (h *Held) close() error {
	if h.conn == nil {
		return h.queue.close()
	}
	return errors.Join(h.conn.CloseLasting(), h.queue.close())
}
