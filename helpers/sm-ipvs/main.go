// The sm-ipvs helper puts destinations into the kernel's load balancer and takes
// them out again without losing a connection: add when a container serves, drain
// before it stops, remove when it is gone. hold keeps clients waiting for the next
// one, restore puts back what another program has removed; check and list look at the
// result.
package main

import (
	"context"
	"fmt"
	"net/netip"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

const help = `
Usage: sm-ipvs COMMAND [--flag VALUE]... [ADDRESS [DESTINATION]]

Lets the kernel's load balancer (IPVS) hand the connections that clients open to
ADDRESS, an address of this host, to DESTINATIONs, such as containers.

Commands:
  add ADDRESS DESTINATION     give DESTINATION new connections
  drain ADDRESS DESTINATION   give it no new ones, and wait for its open ones
  remove ADDRESS DESTINATION  remove it, with whatever connections it has left
  hold ADDRESS...             keep clients waiting until there is a destination again
  restore [ADDRESS]...        put back what the kernel has lost
  check ADDRESS               succeed if a destination gets new connections
  list [ADDRESS]              show virtual services and their destinations

ADDRESS is IP:port, followed by the protocol when that is not TCP:
172.17.0.1:7001, [fd00::1]:7001, 172.17.0.1:53/udp. DESTINATION is IP:port.
Every command but hold may be repeated: it is no error if nothing is left to do.
'sm-ipvs COMMAND -h' explains each.

In a unit:
  ExecStartPost=sm-ipvs add 172.17.0.1:7001 172.17.0.2:80
  ExecStop=sm-ipvs drain --timeout 30s 172.17.0.1:7001 172.17.0.2:80
  ExecStopPost=sm-ipvs remove 172.17.0.1:7001 172.17.0.2:80
`

func main() { command.Main("sm-ipvs", run) }

func run(ctx context.Context, w command.World) error {
	verb := func(run func(context.Context, command.World) error) func(command.World) error {
		return func(w command.World) error { return named(w, run(ctx, w)) }
	}
	return command.Verbs(w, help, map[string]func(command.World) error{
		"add":     verb(add),
		"drain":   verb(drain),
		"remove":  verb(remove),
		"hold":    verb(hold),
		"restore": verb(restore),
		"check":   verb(check),
		"list":    verb(list),
	})
}

// named puts the container's name, from its run record, before an error.
func named(w command.World, err error) error {
	name := w.Getenv("SM_CONTAINER_NAME")
	if err == nil || err == command.ErrHelp || name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// owner returns whose destination it is: the container of the run record, empty
// where there is none.
func owner(w command.World) string { return w.Getenv("SM_CONTAINER_ID") }

// open returns a handle for changes of virtual services.
func open(w command.World) (*ipvs.Handle, error) {
	handle, err := ipvs.Open()
	if handle != nil {
		handle.Waiting = waiting(w)
	}
	return handle, err
}

// waiting reports who else is changing virtual services, in the unit's status and in the
// journal.
func waiting(w command.World) func(holder string) {
	return func(holder string) {
		text := "waiting for " + holder + ", which is changing virtual services"
		w.Notify.Status("%s", text)
		fmt.Fprintln(w.Stdout, text)
	}
}

// pair reads the operands of the commands that change a destination. The error
// is ipvs.ErrNoHost when the destination's address is empty.
func pair(args []string) (at ipvs.Address, to netip.AddrPort, err error) {
	if len(args) != 2 {
		return at, to, command.Usagef("an address and a destination must be given (got %d)", len(args))
	}
	if at, err = address(args[0]); err != nil {
		return at, to, err
	}
	to, err = ipvs.ParseDestination(args[1])
	switch {
	case err != nil && isNoHost(err):
		return at, to, err
	case err != nil:
		return at, to, &command.UsageError{Err: err}
	case at.Addr().Is4() != to.Addr().Is4():
		return at, to, command.Usagef("address %s and destination %s: both must be IPv4, or both IPv6", at, to)
	case at.AddrPort == to:
		return at, to, command.Usagef("address and destination are both %s: a virtual service cannot be its own destination", to)
	}
	return at, to, nil
}

// load makes the kernel load IPVS, and returns a handle for changes. Its errors begin
// with what was to be done.
func load(ctx context.Context, w command.World, what string) (*ipvs.Handle, error) {
	if err := ipvs.Load(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", what, &command.HostError{Err: err})
	}
	handle, err := open(w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return handle, nil
}

// addresses reads operands that are all addresses.
func addresses(args []string) ([]ipvs.Address, error) {
	var list []ipvs.Address
	for _, arg := range args {
		at, err := address(arg)
		if err != nil {
			return nil, err
		}
		list = append(list, at)
	}
	return list, nil
}

func address(arg string) (ipvs.Address, error) {
	at, err := ipvs.ParseAddress(arg)
	if err != nil {
		return at, &command.UsageError{Err: err}
	}
	return at, nil
}
