package main

import (
	"context"
	"errors"
	"fmt"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

const restoreHelp = `
Usage: sm-ipvs restore [ADDRESS]...

Puts back what was added, was not removed, and is missing in the kernel, for example
because of "ipvsadm --clear". Each destination gets the weight that it had, and a line
says so. The table "service-manager" of nftables is put back, too. Without
ADDRESS, all addresses are looked at.

add, drain and remove do this too, for their address.

In a unit:
  ExecStartPre=-sm-ipvs restore
`

func restore(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs restore", restoreHelp)
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	given, err := addresses(flags.Args())
	if err != nil {
		return err
	}
	noted, err := ipvs.Noted()
	if err != nil || !noted {
		return err
	}
	handle, err := load(ctx, w, "restore")
	if err != nil {
		return err
	}
	defer handle.Close()
	return errors.Join(ipvs.Configure(), putBack(ctx, w, handle, given...))
}

// restorer is what putBack needs of the kernel's load balancer.
type restorer interface {
	Restore(ctx context.Context, addresses ...ipvs.Address) ([]ipvs.Place, error)
}

// putBack restores destinations at the addresses, and reports which.
func putBack(ctx context.Context, w command.World, handle restorer, addresses ...ipvs.Address) error {
	restored, err := handle.Restore(ctx, addresses...)
	for _, r := range restored {
		fmt.Fprintf(w.Stdout, "put %s back at %s: it was missing in the kernel\n", r.Destination, r.Address)
	}
	return err
}
