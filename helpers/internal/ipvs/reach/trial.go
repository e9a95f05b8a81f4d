package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Outcome is what a trial client saw.
type Outcome struct {
	Err   error  // why it has no connection; nil when it has one
	Drops []Drop // what has dropped packets of it, or to it, meanwhile
}

// ErrNoBridge says that there is no such bridge.
var ErrNoBridge = errors.New("there is no such bridge")

// ErrNoAddress says that a bridge has no address of the family that is asked for.
var ErrNoAddress = errors.New("it has no address of that family")

// ErrNoAnswer says that a client has waited in vain.
var ErrNoAnswer = errors.New("no answer")

// trialTime is how long a trial client waits: its first packet is sent again after a
// second.
const trialTime = 2500 * time.Millisecond

// outside are networks that no host uses, for this host and a client of it.
var outside = map[family][2]netip.Prefix{
	families[0]: {netip.MustParsePrefix("198.18.255.253/30"), netip.MustParsePrefix("198.18.255.254/30")},
	families[1]: {netip.MustParsePrefix("fd5e:5e72:1ce0::1/126"), netip.MustParsePrefix("fd5e:5e72:1ce0::2/126")},
}

// Try opens a connection to an address as a client other than this host would: a
// container on that bridge or, with an empty name, a host outside, which comes in by an
// interface of its own. The client is a network namespace that is gone afterwards, even
// if this process is killed.
func Try(ctx context.Context, bridge string, address netip.AddrPort) (Outcome, error) {
	here, client := outside[familyOf(address)][0], outside[familyOf(address)][1]
	var of netlink.Link
	if bridge != "" {
		var err error
		if of, here, err = bridgeOf(bridge, address); err != nil {
			return Outcome{}, err
		}
		client = lastOf(here)
	}
	t, err := openTrace(client.Addr())
	if err != nil {
		return Outcome{}, err
	}
	defer t.close()
	c, err := newClient()
	if err != nil {
		return Outcome{}, err
	}
	defer c.end()
	if err := c.connect(of, here, client); err != nil {
		return Outcome{}, fmt.Errorf("make a client to try %s: %w", address, err)
	}
	var o Outcome
	if err := c.in(func() error {
		o.Err = dial(ctx, address)
		return nil
	}); err != nil {
		return o, err
	}
	if o.Err != nil {
		time.Sleep(underway) // the kernel reports late what it dropped last
	}
	o.Drops = t.seen()
	return o, nil
}

// dial opens a connection, and resets it.
func dial(ctx context.Context, address netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address.String())
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return ErrNoAnswer
	}
	if err != nil {
		return err
	}
	return errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
}

// bridgeOf returns a bridge, and the address of its network that the host has there.
func bridgeOf(name string, address netip.AddrPort) (netlink.Link, netip.Prefix, error) {
	link, err := netlink.LinkByName(name)
	if err != nil || link.Type() != "bridge" {
		return nil, netip.Prefix{}, fmt.Errorf("%s: %w", name, ErrNoBridge)
	}
	number := unix.AF_INET
	if address.Addr().Is6() {
		number = unix.AF_INET6
	}
	addresses, err := netlink.AddrList(link, number)
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("list the addresses of %s: %w", name, err)
	}
	for _, a := range addresses {
		if prefix := prefixOf(a.IPNet); prefix.IsValid() && !prefix.Addr().IsLinkLocalUnicast() {
			return link, prefix, nil
		}
	}
	return nil, netip.Prefix{}, fmt.Errorf("%s: %w", name, ErrNoAddress)
}

// lastOf returns the last address of a network, or the one before it: Docker gives
// containers the first ones.
func lastOf(here netip.Prefix) netip.Prefix {
	last := spanOf(here).last.Prev() // the very last one is for all, in IPv4
	if last == here.Addr() {
		last = last.Prev()
	}
	return netip.PrefixFrom(last, here.Bits())
}

// client is a thread in a network namespace of its own.
type client struct {
	namespace *os.File
	link      netlink.Link // to it; nil before it is connected
	work      chan func() error
	done      chan error
}

func newClient() (*client, error) {
	c := &client{work: make(chan func() error), done: make(chan error)}
	go func() {
		// Never unlocked: the thread ends with this goroutine, and the namespace with it.
		runtime.LockOSThread()
		for work := range c.work {
			c.done <- work()
		}
	}()
	err := c.in(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		c.namespace, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		close(c.work)
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return c, nil
}

// in calls work in the namespace.
func (c *client) in(work func() error) error {
	c.work <- work
	return <-c.done
}

// end removes the namespace. Its interfaces would go with it, but a moment later.
func (c *client) end() {
	if c.link != nil {
		_ = netlink.LinkDel(c.link)
	}
	close(c.work)
	c.namespace.Close()
}

// connect connects the client to this host, or to one of its bridges. The host has that
// address there, and the client gets another one.
func (c *client) connect(bridge netlink.Link, here, there netip.Prefix) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = fmt.Sprintf("sm-check%d", unix.Getpid())
	const peer = "client"
	link := &netlink.Veth{LinkAttrs: attributes, PeerName: peer, PeerNamespace: netlink.NsFd(c.namespace.Fd())}
	err := netlink.LinkAdd(link)
	if err == nil {
		c.link = link
	}
	if err == nil && bridge != nil {
		err = netlink.LinkSetMaster(link, bridge)
	} else if err == nil {
		err = netlink.AddrAdd(link, addressOf(here))
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return err
	}
	return c.in(func() error {
		link, err := netlink.LinkByName(peer)
		if err == nil {
			err = netlink.AddrAdd(link, addressOf(there))
		}
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: here.Addr().AsSlice()})
		}
		return err
	})
}

// addressOf is an address that can be used at once.
func addressOf(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Flags: unix.IFA_F_NODAD,
	}
}
