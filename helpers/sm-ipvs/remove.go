package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

const removeHelp = `
Usage: sm-ipvs remove ADDRESS DESTINATION

Removes DESTINATION from the virtual service at ADDRESS, and the service too when it
has no destination left. Connections to DESTINATION end: drain first.

Succeeds without doing anything when there is no such destination, when another
container has been added as DESTINATION since ($SM_CONTAINER_ID tells), and when
the host of DESTINATION is empty (":80"), as it is when a container never started.

Fails when another program has been changing virtual services for 15 s, so that the
next command of the unit runs.

In a unit:
  ExecStopPost=sm-ipvs remove 172.17.0.1:7001 ${SM_CONTAINER_IP}:80
`

// lockPatience is how long remove waits while others change virtual services. When a command
// of ExecStopPost= takes longer than TimeoutStopSec=, which is 30 s in a generated unit at
// least, systemd skips those that follow.
const lockPatience = 15 * time.Second

// balancer is what remove needs of the kernel's load balancer.
type balancer interface {
	restorer
	Remove(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) error
	Close()
}

func remove(ctx context.Context, w command.World) error {
	return removeFrom(ctx, w, func() (balancer, error) { return open(w) }, lockPatience)
}

// removeFrom is remove with another load balancer, and another patience.
func removeFrom(ctx context.Context, w command.World, open func() (balancer, error), patience time.Duration) error {
	flags := command.NewFlags("sm-ipvs remove", removeHelp)
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	at, to, err := pair(flags.Args())
	if isNoHost(err) {
		return nil
	}
	if err != nil {
		return err
	}
	late := fmt.Errorf("waited %s", patience)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, late)
	defer cancel()
	handle, err := open()
	switch {
	case errors.Is(err, ipvs.ErrUnavailable):
		err = ipvs.Forget(ctx, at, to, owner(w), waiting(w))
	case err != nil:
		return fmt.Errorf("remove %s from %s: %w", to, at, err)
	default:
		defer handle.Close()
		if err = handle.Remove(ctx, at, to, owner(w)); err == nil {
			err = putBack(ctx, w, handle, at)
		}
	}
	if errors.Is(err, late) {
		return fmt.Errorf("remove %s from %s: %w", to, at, err)
	}
	return err
}
