package reach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A Drop is what has dropped, or rejected, a packet.
type Drop struct {
	Family string // of nftables: "inet", say
	Table  string
	Chain  string
	Handle uint64 // of the rule; 0 for the policy of the chain
}

// A trace watches which rules of nftables drop what an address sends or gets by TCP.
type trace struct {
	conn   *nftables.Conn
	table  *nftables.Table // asks the kernel to tell
	events *netlink.Conn

	mu    sync.Mutex
	drops []Drop
}

// See linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	traceGroup   = 9
	traceMessage = 10<<8 | unix.NFT_MSG_TRACE
	tracePolicy  = 1
	traceRule    = 3
	verdictCode  = 1
	verdictDrop  = 0
)

// openTrace begins to watch. It ends with this process.
func openTrace(address netip.Addr) (*trace, error) {
	events, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err == nil {
		err = events.JoinGroup(traceGroup)
	}
	t := &trace{events: events}
	if err == nil {
		t.conn, err = nftables.New(nftables.AsLasting())
	}
	if err == nil {
		t.ask(address)
		err = t.conn.Flush()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch the rules of nftables: %w", err), t.close())
	}
	go t.receive()
	return t, nil
}

// ask adds the table that marks what is to be told about.
func (t *trace) ask(address netip.Addr) {
	f := familyOf(netip.AddrPortFrom(address, 0))
	t.table = t.conn.AddTable(&nftables.Table{Name: fmt.Sprintf("%s-check-%d", tableName, unix.Getpid()), Family: nftables.TableFamily(f), Flags: owned})
	isAt := func(which int) []expr.Any {
		return []expr.Any{f.load(which, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()}}
	}
	tell := []expr.Any{&expr.Immediate{Register: 1, Data: []byte{1}}, &expr.Meta{Key: expr.MetaKeyNFTRACE, Register: 1, SourceRegister: true}}
	tcp := is(unix.IPPROTO_TCP)
	rules := []rule{{"from it", join(tcp, isAt(source), tell)}, {"to it", join(tcp, isAt(destination), tell)}}
	early := nftables.ChainPriorityRef(*nftables.ChainPriorityRaw - 100)
	for name, hook := range map[string]*nftables.ChainHook{"arriving": nftables.ChainHookPrerouting, "leaving": nftables.ChainHookOutput} {
		chain{&nftables.Chain{Table: t.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: early}, rules}.put(t.conn)
	}
}

func (t *trace) receive() {
	for {
		messages, err := t.events.Receive()
		if err != nil {
			return
		}
		for _, m := range messages {
			if m.Header.Type != traceMessage {
				continue
			}
			if d, ok := parseDrop(m.Data); ok && !strings.HasPrefix(d.Table, tableName) {
				t.mu.Lock()
				t.drops = append(t.drops, d)
				t.mu.Unlock()
			}
		}
	}
}

// parseDrop reads a message about what became of a packet at a rule or the end of a
// chain. ok says that it went no further.
func parseDrop(message []byte) (d Drop, ok bool) {
	if len(message) < 4 {
		return d, false
	}
	d.Family = familyName(message[0])
	attributes, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return d, false
	}
	attributes.ByteOrder = binary.BigEndian
	var kind uint32
	verdict, policy := uint32(1), uint32(1)
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_TRACE_TABLE:
			d.Table = attributes.String()
		case unix.NFTA_TRACE_CHAIN:
			d.Chain = attributes.String()
		case unix.NFTA_TRACE_RULE_HANDLE:
			d.Handle = attributes.Uint64()
		case unix.NFTA_TRACE_TYPE:
			kind = attributes.Uint32()
		case unix.NFTA_TRACE_POLICY:
			policy = attributes.Uint32()
		case unix.NFTA_TRACE_VERDICT:
			attributes.Nested(func(nested *netlink.AttributeDecoder) error {
				nested.ByteOrder = binary.BigEndian
				for nested.Next() {
					if nested.Type() == verdictCode {
						verdict = nested.Uint32()
					}
				}
				return nil
			})
		}
	}
	if attributes.Err() != nil {
		return d, false
	}
	return d, kind == traceRule && verdict == verdictDrop || kind == tracePolicy && policy == verdictDrop
}

// familyName is what nft calls a family.
func familyName(number uint8) string {
	switch nftables.TableFamily(number) {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyNetdev:
		return "netdev"
	case nftables.TableFamilyBridge:
		return "bridge"
	}
	return fmt.Sprint(number)
}

// seen returns what has dropped packets, in the order in which it did.
func (t *trace) seen() []Drop {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Drop(nil), t.drops...)
}

func (t *trace) close() error {
	var problems []error
	if t.table != nil {
		t.conn.DelTable(t.table)
		problems = append(problems, t.conn.Flush())
	}
	if t.conn != nil {
		problems = append(problems, t.conn.CloseLasting())
	}
	if t.events != nil {
		problems = append(problems, t.events.Close())
	}
	return errors.Join(problems...)
}
