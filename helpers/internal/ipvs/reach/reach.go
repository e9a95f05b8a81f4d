// Package reach lets every client of a host reach the kernel's virtual services as it
// would reach a program of the host: the firewall's rules for incoming and outgoing
// packets apply, and those for forwarded packets do not.
//
// By itself IPVS sends a container's answers through the chains for forwarded packets.
// There Docker drops whatever goes from one of its networks to another, and many
// firewalls drop packets of connections that they have not seen begin. Besides, a
// container on the same network as the one that answers would be answered directly,
// bypassing the host, from an address that it does not know; and a container that
// connects to itself would be its own client. So there is a table of nftables,
// service-manager, for IPv4 and for IPv6: its chain requests labels connections to
// virtual services, answers sends the replies on them out as the host's own, and
// containers gives clients on the container's own network an address of the host. All
// other clients keep their address, and no other table is touched. For destinations that
// are watched, the table also knows which connections have their answer.
//
// The kernel can match an answer to its connection only with net.ipv4.vs.conntrack=1,
// which package ipvs takes care of.
package reach

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A Path is how clients of a virtual service reach one of its destinations.
type Path struct {
	Address     netip.AddrPort // of the virtual service
	Protocol    uint8          // IPPROTO_TCP, say
	Destination netip.AddrPort
	Watch       bool // whether Answered is to know about its connections of TCP
}

// Open lets clients reach destinations. It adds what is missing, and writes the rules
// again in one transaction: no packet meets a table without them.
func Open(paths ...Path) error {
	for _, family := range families {
		mine := slices.DeleteFunc(slices.Clone(paths), func(p Path) bool { return familyOf(p.Address) != family })
		if len(mine) == 0 {
			continue
		}
		err := family.open(mine)
		if errors.Is(err, unix.ENOENT) {
			// Another program has removed meanwhile what this has just made.
			err = family.open(mine)
		}
		if err != nil {
			return fmt.Errorf("complete the table %s of nftables: %w", tableName, err)
		}
	}
	return nil
}

// Close forgets the address of a virtual service that is gone. The table of a family goes
// with its last address; empty says that neither family has one left.
func Close(address netip.AddrPort, protocol uint8) (empty bool, err error) {
	empty = true
	for _, family := range families {
		left, err := family.close(address, protocol)
		if err != nil {
			return false, fmt.Errorf("remove %s from the table %s of nftables: %w", address, tableName, err)
		}
		empty = empty && !left
	}
	return empty, nil
}

// IsOpen reports whether the table is whole, and has the addresses of virtual services.
func IsOpen(targets ...Target) (bool, error) {
	for _, family := range families {
		elements := family.elements(targets)
		if len(elements) == 0 {
			continue
		}
		if open, err := family.isOpen(elements); err != nil {
			return false, fmt.Errorf("read the table %s of nftables: %w", tableName, err)
		} else if !open {
			return false, nil
		}
	}
	return true, nil
}

func (f family) isOpen(wanted []nftables.SetElement) (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	t := newTable(f)
	elements, err := elementsOf(c, t.addresses)
	if err != nil {
		return false, err
	}
	there := make(map[string]bool, len(elements))
	for _, e := range elements {
		there[string(e.Key)] = true
	}
	if slices.ContainsFunc(wanted, func(e nftables.SetElement) bool { return !there[string(e.Key)] }) {
		return false, nil
	}
	return t.hasRules(c)
}

func (f family) open(paths []Path) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := newTable(f)
	if err := t.put(c); err != nil {
		return err
	}
	if err := f.openNetworks(c, t.networks, paths); err != nil {
		return err
	}
	var addresses, watched []nftables.SetElement
	for _, p := range paths {
		addresses = append(addresses, addressElement(p.Address, p.Protocol))
		if p.Watch {
			watched = append(watched, placeElement(p.Destination))
		}
	}
	return errors.Join(add(c, t.watched, watched), add(c, t.addresses, addresses), c.Flush())
}

// add adds elements to a set.
func add(c *nftables.Conn, set *nftables.Set, elements []nftables.SetElement) error {
	for some := range slices.Chunk(elements, chunk) {
		if err := c.SetAddElements(set, some); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// chunk is how many elements are added at a time: a message to the kernel has at most 64
// KiB.
const chunk = 500

// openNetworks adds the networks that destinations are on. One that has changed, because
// a bridge was made again, is replaced: networks must not overlap.
func (f family) openNetworks(c *nftables.Conn, set *nftables.Set, paths []Path) error {
	elements, err := elementsOf(c, set)
	if err != nil {
		return err
	}
	has := spans(elements)
	var wants []span
	seen := make(map[netip.Addr]bool) // one container may be behind many addresses
	for _, p := range paths {
		container := p.Destination.Addr()
		if seen[container] {
			continue
		}
		seen[container] = true
		prefix, ok := bridged(container)
		if s := spanOf(prefix); ok && !slices.Contains(wants, s) {
			wants = append(wants, s)
		}
	}
	if !slices.ContainsFunc(wants, func(s span) bool { return !slices.Contains(has, s) }) {
		return nil
	}
	c.FlushSet(set)
	for _, s := range has {
		if !slices.ContainsFunc(wants, s.overlaps) {
			wants = append(wants, s)
		}
	}
	for _, s := range wants {
		if err := c.SetAddElements(set, s.elements()); err != nil {
			return err
		}
	}
	return nil
}

// close reports whether any address is left.
func (f family) close(address netip.AddrPort, protocol uint8) (left bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	t := newTable(f)
	_, err = c.ListTableOfFamily(tableName, t.Family)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	elements, err := elementsOf(c, t.addresses)
	if err != nil {
		return false, err
	}
	gone := addressElement(address, protocol)
	others := slices.DeleteFunc(slices.Clone(elements), func(e nftables.SetElement) bool { return bytes.Equal(e.Key, gone.Key) })
	switch {
	case len(others) == 0:
		c.DelTable(t.Table)
	case len(others) < len(elements):
		if err := c.SetDeleteElements(t.addresses, []nftables.SetElement{gone}); err != nil {
			return true, err
		}
	}
	return len(others) > 0, c.Flush()
}

// elementsOf returns the elements of a set, none if it does not exist.
func elementsOf(c *nftables.Conn, set *nftables.Set) ([]nftables.SetElement, error) {
	if _, err := c.GetSetByName(set.Table, set.Name); err != nil {
		if missing(err) {
			return nil, nil
		}
		return nil, err
	}
	return c.GetSetElements(set)
}

// has reports whether one of the elements has the same key as another one.
func has(elements []nftables.SetElement, one nftables.SetElement) bool {
	return slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return bytes.Equal(e.Key, one.Key) })
}

// missing reports whether err says that the kernel has no such table, chain or set.
func missing(err error) bool { return errors.Is(err, unix.ENOENT) }
