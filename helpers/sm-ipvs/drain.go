package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/mainprocess"
)

const drainHelp = `
Usage: sm-ipvs drain [--flag VALUE]... ADDRESS DESTINATION

Gives DESTINATION no new connections, and returns when its open ones have ended,
when the unit's main process has ended, or when the time is up: that is success
too, with a line that says how many were left. Idle connections count as well, so
give it a time-out; so do those whose client has sent everything and waits for the
answer. Those that only the client has yet to close are given 5 s.
With --until answered, connections on which DESTINATION sent last no longer count once
neither side has sent anything for 1 s: proxies keep such connections for their next
request. This needs add --watch.
While connections are opening, for at most 4 s, DESTINATION counts as full instead of
having weight 0, and may get one more.
A UDP destination is removed instead, because its clients would stay with it for ever:
after 0.2 s, in which it answers what it has received, while their datagrams wait.

Succeeds without doing anything when there is no such destination, when another
container has been added as DESTINATION since ($SM_CONTAINER_ID tells), and when
the host of DESTINATION is empty (":80"), as it is when a container never started.

In a unit:
  ExecStop=sm-ipvs drain --timeout 30s 172.17.0.1:7001 ${SM_CONTAINER_IP}:80
`

// What a drain waits for.
const (
	untilClosed   = "closed"
	untilAnswered = "answered"
)

const (
	// pollInterval is the time between checks while connections are open.
	pollInterval = 100 * time.Millisecond
	// settleInterval passes before "no connections" is believed: a connection
	// may have been given to the destination just before its weight changed.
	settleInterval = 20 * time.Millisecond
	// opening is how long a connection may take to open: its first packet or the answer
	// may get lost, and is sent again after a second, and after two more.
	opening = 4 * time.Second
	// closing is how long a client may take to close what the container has closed:
	// what got lost of the answer has been sent again by then. One that has vanished
	// never does.
	closing = 5 * time.Second
	// crossedInterval is the time between looks for connections that only count as active.
	crossedInterval = time.Second
	// lastAnswers is how long the container may take to answer the datagrams that it has
	// received.
	lastAnswers = 200 * time.Millisecond
	// grace is what setting up and cleaning up may take beyond the time-out.
	grace = 10 * time.Second
)

func drain(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs drain", drainHelp)
	timeout := flags.Duration("timeout", 30*time.Second, "the longest `duration` to wait for open connections")
	until := flags.String("until", untilClosed, "`what` to wait for: "+untilClosed+", the end of every connection, or "+untilAnswered+", that of all but idle ones")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if *timeout < 0 {
		return command.Usagef("--timeout: must be 0 or more (got %s)", *timeout)
	}
	if *until != untilClosed && *until != untilAnswered {
		return command.Usagef("--until: must be %s or %s (got %q)", untilClosed, untilAnswered, *until)
	}
	at, to, err := pair(flags.Args())
	if isNoHost(err) {
		return nil
	}
	if err != nil {
		return err
	}
	w.Notify.ExtendTimeout(*timeout + grace)
	handle, err := open(w)
	if errors.Is(err, ipvs.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drain %s: %w", to, err)
	}
	defer handle.Close()
	if at.Protocol == ipvs.UDP {
		return drainDatagrams(ctx, w, handle, at, to)
	}
	// Also the destination to drain: it may have connections.
	if err := putBack(ctx, w, handle, at); err != nil {
		w.Warning("drain %s: %v", to, err) // what is there is drained
	}
	living, release, err := mainprocess.Watch(ctx, w)
	if err != nil {
		// An error would cut connections. Without the watch, only time is lost.
		living, release = ctx, func() {}
	}
	defer release()
	if mine, err := quiesce(living, w, handle, at, to, min(opening, *timeout)); err != nil || !mine {
		return err
	}
	d := &draining{w: w, handle: handle, at: at, to: to, answered: *until == untilAnswered,
		connections: func() (ipvs.Connections, error) { return handle.Connections(at, to) }}
	if d.answered {
		if watched, err := handle.Watched(ctx, at, to); err == nil && !watched {
			w.Warning("drain %s: it was added without --watch, so each of its connections has to end", to)
		}
	}
	left, err := d.await(living, *timeout)
	switch {
	case errors.Is(context.Cause(living), mainprocess.ErrGone):
		// The answers that its connections wait for will not come.
		fmt.Fprintf(w.Stdout, "drain %s: %v\n", to, mainprocess.ErrGone)
		return nil
	case err != nil:
		return fmt.Errorf("drain %s: %w", to, err)
	case left > 0:
		fmt.Fprintf(w.Stdout, "drain %s: time is up after %s with %s left\n", to, *timeout, connections(left))
	}
	w.Notify.Status("drained %s%s", to, d.also())
	return nil
}

// drainDatagrams removes a destination. An answer after that would not be passed on; so
// the container first answers what it has received, and what clients send meanwhile waits
// for the next destination.
func drainDatagrams(ctx context.Context, w command.World, handle *ipvs.Handle, at ipvs.Address, to netip.AddrPort) error {
	if _, found, err := handle.Destination(at, to); err != nil || !found {
		return err
	}
	// What has begun is finished, whatever happens.
	whole := context.WithoutCancel(ctx)
	held, err := holdInTurn(ctx, handle, at)
	if errors.Is(err, ipvs.ErrHeld) {
		return errors.Join(handle.Remove(whole, at, to, owner(w)), awaitForgotten(handle, at, to))
	}
	if err != nil {
		return errors.Join(err, handle.Remove(whole, at, to, owner(w)))
	}
	select {
	case <-ctx.Done():
	case <-time.After(lastAnswers):
	}
	err = handle.Remove(whole, at, to, owner(w))
	return errors.Join(err, awaitForgotten(handle, at, to), held.End(whole))
}

// holdInTurn holds what clients of an address send, once the other destinations that are
// drained have done so. With ErrHeld it has been held for longer than that, already.
func holdInTurn(ctx context.Context, handle *ipvs.Handle, at ipvs.Address) (held *ipvs.Hold, err error) {
	service, _, err := handle.Service(at)
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(lastAnswers * time.Duration(1+len(service.Destinations)))
	for {
		held, err = handle.Hold(ctx, at)
		if !errors.Is(err, ipvs.ErrHeld) || !time.Now().Before(end) {
			return held, err
		}
		select {
		case <-ctx.Done():
			return held, err
		case <-time.After(settleInterval):
		}
	}
}

// awaitForgotten returns when the kernel has forgotten the flows of a removed
// destination, a moment later. It drops the first packet of a flow that it has not
// forgotten.
func awaitForgotten(handle *ipvs.Handle, at ipvs.Address, to netip.AddrPort) error {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(settleInterval / 4) {
		_, found, err := handle.Destination(at, to)
		if err != nil || found { // it is another's by now
			return err
		}
		if c, err := handle.Connections(at, to); err != nil || c.Flows == 0 || !time.Now().Before(deadline) {
			return err
		}
	}
}

// drainer is what quiesce needs of the kernel's load balancer.
type drainer interface {
	Fill(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) (mine bool, err error)
	Quiesce(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) (mine bool, err error)
	Destination(at ipvs.Address, to netip.AddrPort) (ipvs.Destination, bool, error)
	Connections(at ipvs.Address, to netip.AddrPort) (ipvs.Connections, error)
}

// quiesce stops new connections to a destination; mine is false when it is another
// owner's.
//
// When the answer to a client's first packet gets lost, both ends send again at about the
// same time. At weight 0 the kernel gives the client's packet to another destination, and
// a client that has the answer of this one by then is reset. So this one is full, and
// keeps its weight, until no connection is opening or the time is up.
func quiesce(ctx context.Context, w command.World, handle drainer, at ipvs.Address, to netip.AddrPort, limit time.Duration) (mine bool, err error) {
	// What has begun ends at weight 0, whatever happens.
	whole := context.WithoutCancel(ctx)
	warned := false
	for deadline := time.Now().Add(limit); ; {
		if mine, err = handle.Fill(whole, at, to, owner(w)); err != nil || !mine {
			return mine, err
		}
		waited := awaitOpen(ctx, w, handle, at, to, deadline)
		mine, err = handle.Quiesce(whole, at, to, owner(w))
		if errors.Is(err, ipvs.ErrUnnoted) {
			// An error would cut connections. The note only matters to what may give the
			// destination its weight back.
			if !warned {
				w.Warning("drain %s: %v", to, err)
			}
			warned, err = true, nil
		}
		if err != nil || !mine || waited != nil {
			return mine, errors.Join(err, waited)
		}
		// One may have come just before.
		n, err := countOpening(handle, at, to)
		if err != nil || n == 0 || ctx.Err() != nil || !time.Now().Before(deadline) {
			return true, err
		}
	}
}

// awaitOpen returns when no connection of a destination is opening, at the deadline, or
// when ctx ends.
func awaitOpen(ctx context.Context, w command.World, handle drainer, at ipvs.Address, to netip.AddrPort, deadline time.Time) error {
	for status := ""; ; {
		begin := time.Now()
		n, err := countOpening(handle, at, to)
		if err != nil || n == 0 {
			return err
		}
		text := fmt.Sprintf("draining %s: %d connections are opening", to, n)
		if n == 1 {
			text = fmt.Sprintf("draining %s: 1 connection is opening", to)
		}
		if text != status {
			status = text
			w.Notify.Status("%s", status)
		}
		now := time.Now()
		if !now.Before(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(settleInterval, 4*now.Sub(begin)), deadline.Sub(now))):
		}
	}
}

// countOpening returns how many connections of a destination are opening.
func countOpening(handle drainer, at ipvs.Address, to netip.AddrPort) (int, error) {
	d, found, err := handle.Destination(at, to)
	if err != nil || !found || d.ActiveConnections == 0 {
		return 0, err // without the list of all connections, which may be long
	}
	c, err := handle.Connections(at, to)
	return c.Opening, err
}

// draining is a destination that gets no new connections.
type draining struct {
	w      command.World
	handle *ipvs.Handle
	at     ipvs.Address
	to     netip.AddrPort
	// connections lists all of them, which may take long.
	connections func() (ipvs.Connections, error)

	answered bool // whether connections that were answered, and are idle, no longer count
	idle     int  // how many of those there are
	warned   bool // that their number cannot be known
	crossed  int  // how many active ones are no connections
	looked   time.Time
}

// await returns when no connection needs the destination any more, or with the number of
// active ones when the time is up.
func (d *draining) await(ctx context.Context, timeout time.Duration) (left int, err error) {
	lastActive := time.Now()
	deadline := lastActive.Add(timeout)
	status := ""
	settled := false
	for {
		begin := time.Now()
		active, unacknowledged, found, err := d.inUse()
		if err != nil {
			return 0, err
		}
		now := time.Now()
		if active > 0 {
			lastActive = now
		}
		done := active == 0 && (unacknowledged == 0 || now.Sub(lastActive) >= closing)
		switch {
		case !found, settled && done:
			return 0, nil
		case !now.Before(deadline):
			return active, nil
		}
		settled = done
		pause, text := pollInterval, status
		switch {
		case active == 0:
			// The list of all connections may be long.
			pause = max(settleInterval, 4*now.Sub(begin))
		case d.answered:
			pause = max(pollInterval, 4*now.Sub(begin))
		}
		switch {
		case active > 0:
			text = fmt.Sprintf("draining %s: %s%s, %.0fs left", d.to, connections(active), d.also(), deadline.Sub(now).Seconds())
		case !done:
			text = fmt.Sprintf("draining %s: clients have yet to close %d", d.to, unacknowledged)
		}
		if text != status {
			status = text
			d.w.Notify.Status("%s", status)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("stopped with %s left", connections(active))
		case <-time.After(min(pause, deadline.Sub(now))):
		}
	}
}

// inUse returns how many connections of the destination are active, how many the client
// has yet to close, and whether the destination is there.
func (d *draining) inUse() (active, unacknowledged int, found bool, err error) {
	now, found, err := d.handle.Destination(d.at, d.to)
	if err != nil || !found {
		return 0, 0, found, err
	}
	active, d.idle = now.ActiveConnections, 0
	if active > 0 && d.answered {
		var unknown error
		// An error would cut connections. Without the number, only time is lost.
		if d.idle, unknown = d.handle.Answered(d.at, d.to); unknown != nil && !d.warned {
			d.warned = true
			d.w.Warning("%v", unknown)
		}
		active = max(0, active-d.idle) // some may have ended in the meantime
	}
	if active > 0 {
		if active, err = d.without(active); err != nil {
			return 0, 0, true, err
		}
	}
	if active > 0 || now.InactiveConnections == 0 {
		return active, 0, true, nil
	}
	c, err := d.connections()
	return c.HalfClosed, c.Unacknowledged, true, err
}

// without returns the number of active connections, less those that are none.
func (d *draining) without(active int) (int, error) {
	// They are rare, and the list of all connections may be long.
	// One of them may have ended since the last look, and must not hide one that is open.
	if now := time.Now(); now.Sub(d.looked) >= crossedInterval || active <= d.crossed {
		c, err := d.connections()
		if err != nil {
			return 0, err
		}
		d.crossed, d.looked = c.Crossed, now
	}
	return max(0, active-d.crossed), nil
}

// also says how many connections are idle.
func (d *draining) also() string {
	if d.idle == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d idle", d.idle)
}

func connections(n int) string {
	if n == 1 {
		return "1 active connection"
	}
	return fmt.Sprintf("%d active connections", n)
}
