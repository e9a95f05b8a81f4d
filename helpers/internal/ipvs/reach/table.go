package reach

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

const tableName = "service-manager"

// A family is IPv4 or IPv6, each of which has a table of its own, because only in these
// can nftables copy packets.
type family nftables.TableFamily

var families = []family{family(nftables.TableFamilyIPv4), family(nftables.TableFamilyIPv6)}

func (f family) is4() bool { return f == families[0] }

func familyOf(address netip.AddrPort) family {
	if address.Addr().Is4() {
		return families[0]
	}
	return families[1]
}

// table is the table of a family as it should be.
type table struct {
	*nftables.Table
	// addresses are those of virtual services, each with its protocol and port.
	addresses *nftables.Set
	// networks are those that destinations are on.
	networks *nftables.Set
	// watched are destinations, each with its port, for whose connections answered is
	// kept.
	watched *nftables.Set
	// answered are connections, each by its client and its destination, on which the
	// destination sent last.
	answered *nftables.Set
	chains   []chain
}

type chain struct {
	*nftables.Chain
	rules []rule
}

// A rule is a list of expressions, one for each thing that it tests or does.
type rule struct {
	comment     string
	expressions []expr.Any
}

// When the chains see a packet, among others that see it at the same point.
var (
	// IPVS has the priority of source translation less 1, and takes the packet away.
	beforeBalancing   = nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 10)
	afterTranslation  = nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 10)
	beforeTranslation = nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 1)
)

// mtu is the greatest length of a copied datagram, in bytes: a copy is not fragmented.
const mtu = 1500

func newTable(f family) table {
	t := table{Table: &nftables.Table{Name: tableName, Family: nftables.TableFamily(f)}}
	address := f.addressType()
	t.addresses = f.addressSet(t.Table)
	t.networks = &nftables.Set{Table: t.Table, Name: "networks", Interval: true, KeyType: address}
	t.watched = &nftables.Set{Table: t.Table, Name: "watched", Concatenation: true,
		KeyType: nftables.MustConcatSetType(address, nftables.TypeInetService)}
	t.answered = &nftables.Set{Table: t.Table, Name: "answered", Concatenation: true,
		Dynamic: true, Size: most, HasTimeout: true, Timeout: remembered,
		KeyType: nftables.MustConcatSetType(address, nftables.TypeInetService, address, nftables.TypeInetService)}

	t.chains = []chain{{
		&nftables.Chain{Table: t.Table, Name: "requests", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: beforeBalancing},
		[]rule{
			{"connections to virtual services", join(f.isSentTo(t.addresses), []expr.Any{
				&expr.Immediate{Register: 1, Data: label},
				&expr.Ct{Key: expr.CtKeyLABELS, Register: 1, SourceRegister: true},
			})},
		},
	}, {
		&nftables.Chain{Table: t.Table, Name: "answers", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: afterTranslation},
		[]rule{
			{"a watched destination sends the last of what it has to say", join(hasFlags(expr.CmpOpEq, push), f.isIn(t.watched, source), f.note(t.answered, update, destination))},
			{"large datagrams, which a copy would not carry", join(is(unix.IPPROTO_UDP), isLonger(mtu), []expr.Any{
				&expr.Verdict{Kind: expr.VerdictReturn},
			})},
			{"what virtual services answer leaves as the host's own", join([]expr.Any{
				&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}, // reply
			}, isLabelled, []expr.Any{
				&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
				f.load(destination, 1),
				&expr.Dup{RegAddr: 1},
				&expr.Verdict{Kind: expr.VerdictDrop},
			})},
		},
	}, {
		&nftables.Chain{Table: t.Table, Name: "deliveries", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPostrouting, Priority: beforeBalancing},
		[]rule{
			{"a client begins, ends, or sends the last of what it has to say, to a watched destination", join(hasFlags(expr.CmpOpNeq, 0), f.isIn(t.watched, destination), f.note(t.answered, remove, source))},
			{"a client sends more than one packet takes", join(is(unix.IPPROTO_TCP), isLonger(headers), f.isIn(t.watched, destination), f.note(t.answered, remove, source))},
		},
	}, {
		&nftables.Chain{Table: t.Table, Name: "containers", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: beforeTranslation},
		[]rule{
			{"clients that would be answered past the host", join(isLabelled, []expr.Any{
				f.load(source, 1),
				&expr.Lookup{SourceRegister: 1, SetName: t.networks.Name},
				&expr.Masq{},
			})},
		},
	}}
	return t
}

// addressSet is a set of addresses that clients send to, each with its protocol and port.
func (f family) addressSet(t *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: t, Name: "addresses", Concatenation: true,
		KeyType: nftables.MustConcatSetType(f.addressType(), nftables.TypeInetProto, nftables.TypeInetService)}
}

func (f family) addressType() nftables.SetDatatype {
	if f.is4() {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

// label is what connections to virtual services carry: one of the 128 bits that each
// connection has for such purposes.
var label = func() []byte {
	const bit = 86
	words := [2]uint64{}
	words[bit/64] = 1 << (bit % 64)
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, words[0]), words[1])
}()

var isLabelled = []expr.Any{
	&expr.Ct{Key: expr.CtKeyLABELS, Register: 1},
	&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(label)), Mask: label, Xor: make([]byte, len(label))},
	&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, len(label))},
}

// first is the first of the 4-byte registers. What is looked up together lies side by
// side.
const first = 8

// isSentTo tests whether a packet goes to an address in the set.
func (f family) isSentTo(set *nftables.Set) []expr.Any {
	words := f.words()
	return []expr.Any{
		f.load(destination, first),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first + words},
		loadPort(destination, first+words+1),
		&expr.Lookup{SourceRegister: first, SetName: set.Name},
	}
}

// is tests the protocol of a packet.
func is(protocol byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
	}
}

// isLonger tests the length of a packet in bytes.
func isLonger(than uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, than)},
	}
}

// words is how many registers an address takes.
func (f family) words() uint32 { return uint32(f.size() / 4) }

// size is how many bytes an address has.
func (f family) size() int {
	if f.is4() {
		return 4
	}
	return 16
}

// Which of the two addresses of a packet.
const (
	source = iota
	destination
)

// load loads an address of the packet into a register.
func (f family) load(which int, register uint32) expr.Any {
	first := 12
	if !f.is4() {
		first = 8
	}
	size := f.size()
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(first + which*size), Len: uint32(size)}
}

// loadPort loads a port of the packet into a register.
func loadPort(which int, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: uint32(2 * which), Len: 2}
}

func join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// addressElement is the element for an address of a virtual service.
func addressElement(address netip.AddrPort, protocol uint8) nftables.SetElement {
	key := append(address.Addr().AsSlice(), protocol, 0, 0, 0)
	key = binary.BigEndian.AppendUint16(key, address.Port())
	return nftables.SetElement{Key: append(key, 0, 0)}
}

// hasRules reports whether each chain has as many rules as it should.
func (t table) hasRules(c *nftables.Conn) (bool, error) {
	for _, ch := range t.chains {
		if _, err := c.ListChain(t.Table, ch.Name); missing(err) {
			return false, nil
		}
		rules, err := c.GetRules(t.Table, ch.Chain)
		if err != nil || len(rules) != len(ch.rules) {
			return false, err
		}
	}
	return true, nil
}

// placeElement is the element for the address and port of a destination.
func placeElement(place netip.AddrPort) nftables.SetElement {
	key := binary.BigEndian.AppendUint16(place.Addr().AsSlice(), place.Port())
	return nftables.SetElement{Key: append(key, 0, 0)}
}

// put adds the table with everything in it except elements.
func (t table) put(c *nftables.Conn) error {
	c.AddTable(t.Table)
	for _, set := range []*nftables.Set{t.addresses, t.networks, t.watched, t.answered} {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	for _, ch := range t.chains {
		ch.put(c)
	}
	return nil
}

// put adds the chain, with exactly these rules.
func (ch chain) put(c *nftables.Conn) {
	c.AddChain(ch.Chain)
	c.FlushChain(ch.Chain)
	for _, r := range ch.rules {
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch.Chain, Exprs: r.expressions,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
	}
}
