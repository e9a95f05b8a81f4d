package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/mainprocess"
)

const addHelp = `
Usage: sm-ipvs add [--flag VALUE]... ADDRESS DESTINATION

Gives DESTINATION new connections to ADDRESS. The virtual service is created when
ADDRESS has none; a destination that is there already gets the weight. ADDRESS
must be an address of this host, and not a loopback one. Who may reach it is up to
the firewall's rules for incoming packets.

In a unit it fails, and leaves nothing behind, when the unit's main process has
ended, or the unit is being stopped.

In a unit:
  ExecStartPost=sm-ipvs add 172.17.0.1:7001 ${SM_CONTAINER_IP}:80
`

func isNoHost(err error) bool { return errors.Is(err, ipvs.ErrNoHost) }

func add(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs add", addHelp)
	scheduler := flags.String("scheduler", "", "the `name` of the scheduler by which IPVS chooses among destinations; without it a new service gets "+ipvs.DefaultScheduler+" and an existing one stays as it is")
	weight := flags.Int("weight", 1, "the destination's `share` of new connections; with 0 it gets none")
	assign := flags.Bool("assign", false, "add ADDRESS to this host if it lacks it, on the interface "+ipvs.Link+"; it is removed with the last destination at it")
	watch := flags.Bool("watch", false, "record which connections to DESTINATION were answered, for 'drain --until answered'")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if *weight < 0 || *weight > ipvs.MaxWeight {
		return command.Usagef("--weight: must be from 0 to %d (got %d)", ipvs.MaxWeight, *weight)
	}
	at, to, err := pair(flags.Args())
	if err != nil && !isNoHost(err) {
		return err
	}
	what := fmt.Sprintf("add %s to %s", to, at)
	if isNoHost(err) {
		what = fmt.Sprintf("add to %s", at)
	}
	// Before anything else: when the main process is gone, every other error is
	// only a consequence of that.
	if gone := lookAtMain(ctx, w, what); gone != nil {
		return gone
	}
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", what, err), "check with systemctl status that its container has started")
	}
	if err := ipvs.CheckLocal(at.Addr()); err != nil && (!*assign || at.Addr().IsLoopback()) {
		return fmt.Errorf("%s: %w", what, err)
	}
	handle, err := load(ctx, w, what)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := ipvs.Configure(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := putBack(ctx, w, handle, at); err != nil {
		return err
	}
	if err := handle.Add(ctx, at, to, ipvs.Terms{Owner: owner(w), Scheduler: *scheduler, Weight: *weight, Assign: *assign, Watch: *watch}); err != nil {
		return err
	}
	if err := lookAtMain(ctx, w, what); err != nil {
		return errors.Join(err, takeBack(handle, at, to, owner(w)))
	}
	if *weight > 0 {
		w.Notify.Status("serving %s from %s", at, to)
	}
	return nil
}

// lookAtMain returns an error when the unit's main process has ended, or is about
// to.
func lookAtMain(ctx context.Context, w command.World, what string) error {
	err := mainprocess.Check(ctx, w)
	if errors.Is(err, mainprocess.ErrGone) {
		return mainprocess.Gone(what)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// takeBack removes a destination that must not serve after all, even if this process has
// been told to stop.
func takeBack(handle *ipvs.Handle, at ipvs.Address, to netip.AddrPort, owner string) error {
	return handle.Remove(context.Background(), at, to, owner)
}
