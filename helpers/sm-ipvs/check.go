package main

import (
	"context"
	"errors"
	"fmt"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs"
)

const checkHelp = `
Usage: sm-ipvs check [--from WHERE] ADDRESS

Succeeds when the virtual service at ADDRESS has a destination that gets new
connections, and the nftables table by which all clients reach it is complete. It makes
no connection, except with --from: then it also opens one as a client there would, and
if that fails, says which rule of nftables is in its way.

In a unit:
  ExecStart=sm-ipvs check 172.17.0.1:7001
`

func check(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs check", checkHelp)
	from := flags.String("from", "", "`where` to try a client: "+fromOutside+", on a network and an interface of its own; "+fromContainer+", on "+defaultBridge+"; or "+fromContainer+":BRIDGE")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return command.Usagef("one address must be given (got %d)", flags.NArg())
	}
	at, err := address(flags.Arg(0))
	if err != nil {
		return err
	}
	bridge := ""
	if *from != "" {
		if bridge, err = bridgeOf(*from); err != nil {
			return err
		}
		if at.Protocol != ipvs.TCP {
			return command.Usagef("--from: is for TCP (got %s)", at)
		}
	}
	reason, err := whyIdle(at)
	if err != nil {
		return fmt.Errorf("check %s: %w", at, err)
	}
	if reason != "" {
		return hint.Add(fmt.Errorf("%s: nothing serves here: %s", at, reason), "run systemctl status --all 'NAME@*', with the name of the service that has this address")
	}
	reachable, err := ipvs.Reachable(at)
	if err != nil {
		return fmt.Errorf("check %s: %w", at, err)
	}
	if !reachable {
		return hint.Add(fmt.Errorf("%s: not every client gets here: another program has changed the table service-manager of nftables", at), "run sm-ipvs restore")
	}
	if *from == "" {
		return nil
	}
	return checkFrom(ctx, at, *from, bridge)
}

// whyIdle says why nothing gets new connections to an address; it is empty when
// something does.
func whyIdle(at ipvs.Address) (string, error) {
	handle, err := ipvs.Open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return "the kernel has not loaded IPVS", nil
	}
	if err != nil {
		return "", err
	}
	defer handle.Close()
	service, found, err := handle.Service(at)
	if err != nil {
		return "", err
	}
	if !found {
		return "there is no virtual service", nil
	}
	for _, d := range service.Destinations {
		if d.Weight > 0 {
			return "", nil
		}
	}
	switch n := len(service.Destinations); n {
	case 0:
		return "the virtual service has no destination", nil
	case 1:
		return "its only destination is draining", nil
	default:
		return fmt.Sprintf("all of its %d destinations are draining", n), nil
	}
}
