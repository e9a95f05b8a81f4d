package reach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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

// A trace watches which nftables rules drop what an address sends or gets.
type trace struct {
	conn   *nftables.Conn
	table  *nftables.Table // asks the kernel to report
	events *netlink.Conn

	mu        sync.Mutex
	protocols map[uint32]uint8 // of packets, by the kernel's number for each
	segments  []Drop           // of TCP
	others    []Drop           // of what has to get through first, such as who has an address
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

// openTrace starts to watch. The watch ends with this process.
func openTrace(address netip.Addr) (*trace, error) {
	events, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err == nil {
		err = events.JoinGroup(traceGroup)
	}
	t := &trace{events: events, protocols: make(map[uint32]uint8)}
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

// ask adds the table that marks the packets to report on.
func (t *trace) ask(address netip.Addr) {
	f := familyOf(netip.AddrPortFrom(address, 0))
	t.table = t.conn.AddTable(&nftables.Table{Name: fmt.Sprintf("%s-check-%d", tableName, unix.Getpid()), Family: nftables.TableFamily(f), Flags: owned})
	isAt := func(which int) []expr.Any {
		return []expr.Any{f.load(which, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()}}
	}
	tell := []expr.Any{&expr.Immediate{Register: 1, Data: []byte{1}}, &expr.Meta{Key: expr.MetaKeyNFTRACE, Register: 1, SourceRegister: true}}
	rules := []rule{{"from it", join(isAt(source), tell)}, {"to it", join(isAt(destination), tell)}}
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
			if e, ok := parseEvent(m.Data); ok {
				t.note(e)
			}
		}
	}
}

// note takes in what became of a packet at a rule.
func (t *trace) note(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.protocol != 0 {
		t.protocols[e.packet] = e.protocol
	}
	switch {
	case !e.dropped || strings.HasPrefix(e.Table, tableName):
	case t.protocols[e.packet] == unix.IPPROTO_TCP:
		t.segments = append(t.segments, e.Drop)
	default:
		t.others = append(t.others, e.Drop)
	}
}

// event is what became of a packet at a rule, or at the end of a chain.
type event struct {
	Drop
	packet   uint32
	protocol uint8 // reported at the first rule that a packet meets, else 0
	dropped  bool
}

// parseEvent reads a message of the kernel's.
func parseEvent(message []byte) (e event, ok bool) {
	if len(message) < 4 {
		return e, false
	}
	e.Family = familyName(message[0])
	attributes, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return e, false
	}
	attributes.ByteOrder = binary.BigEndian
	var kind uint32
	verdict, policy := uint32(1), uint32(1)
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_TRACE_ID:
			e.packet = attributes.Uint32()
		case unix.NFTA_TRACE_NETWORK_HEADER:
			e.protocol = protocolOf(attributes.Bytes())
		case unix.NFTA_TRACE_TABLE:
			e.Table = attributes.String()
		case unix.NFTA_TRACE_CHAIN:
			e.Chain = attributes.String()
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.Handle = attributes.Uint64()
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
	e.dropped = kind == traceRule && verdict == verdictDrop || kind == tracePolicy && policy == verdictDrop
	return e, attributes.Err() == nil
}

// protocolOf returns the protocol that an IP header names, 0 for none.
func protocolOf(header []byte) uint8 {
	switch {
	case len(header) >= 20 && header[0]>>4 == 4:
		return header[9]
	case len(header) >= 40 && header[0]>>4 == 6:
		return header[6]
	}
	return 0
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

// seen returns what has dropped packets, in order: TCP packets, or if there were none,
// others without which there are none.
func (t *trace) seen() []Drop {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.segments) > 0 {
		return slices.Clone(t.segments)
	}
	return slices.Clone(t.others)
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
