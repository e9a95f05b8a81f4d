package main

import (
	"context"
	"errors"
	"fmt"

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

In a unit:
  ExecStopPost=sm-ipvs remove 172.17.0.1:7001 ${SM_CONTAINER_IP}:80
`

func remove(ctx context.Context, w command.World) error {
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
	handle, err := open(w)
	if errors.Is(err, ipvs.ErrUnavailable) {
		return ipvs.Forget(ctx, at, to, owner(w), waiting(w))
	}
	if err != nil {
		return fmt.Errorf("remove %s from %s: %w", to, at, err)
	}
	defer handle.Close()
	if err := handle.Remove(ctx, at, to, owner(w)); err != nil {
		return err
	}
	return putBack(ctx, w, handle, at)
}
