package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/watch"
	"service-manager/units/printable"
)

const holdHelp = `
Usage: sm-ipvs hold [--flag VALUE]... ADDRESS...

Keeps clients that connect to the ADDRESSes waiting, instead of refusing them,
until 'add' has given each ADDRESS a destination with a weight, or the time is up.
For what cannot run twice: hold, then stop the old container, then start the new
one. Open connections continue. UDP datagrams wait, too.

It runs until then, and tells systemd once clients wait. When it is stopped, or killed,
they continue at once.

In a unit that is started before the old container is stopped:
  Type=notify
  ExecStart=sm-ipvs hold --timeout 30s 172.17.0.1:7001
`

func hold(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs hold", holdHelp)
	timeout := flags.Duration("timeout", 30*time.Second, "the longest `duration` to keep clients waiting")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if *timeout <= 0 {
		return command.Usagef("--timeout: must be more than 0 (got %s)", *timeout)
	}
	given, err := addresses(flags.Args())
	if err != nil {
		return err
	}
	for i, at := range given {
		if slices.Contains(given[:i], at) {
			return command.Usagef("%s is given twice", at)
		}
	}
	if len(given) == 0 {
		return command.Usagef("an address must be given")
	}
	what := "hold " + joined(given)
	handle, err := load(ctx, w, what)
	if err != nil {
		return err
	}
	defer handle.Close()
	watcher := watch.New(w.Warn)
	defer watcher.Close()
	held, err := handle.Hold(ctx, given...)
	if err != nil {
		return err
	}
	begin := time.Now()
	w.Notify.Status("holding connections to %s for at most %s", joined(given), *timeout)
	w.Notify.Ready()
	left, err := await(ctx, watcher, held, *timeout)
	waited, packets := time.Since(begin), held.Packets()
	// What has begun is finished, even if this process was told to stop.
	if err := errors.Join(err, held.End(context.WithoutCancel(ctx))); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	text := fmt.Sprintf("%s: %s waited, for at most %.2fs", what, printable.Count(packets, "packet"), waited.Seconds())
	if len(left) > 0 && ctx.Err() == nil {
		text += fmt.Sprintf("; the time is up without a destination at %s", joined(left))
	}
	fmt.Fprintln(w.Stdout, text)
	w.Notify.Status("%s", text)
	return nil
}

// await returns when each address has a destination again, when the time is up, or when
// ctx ends, with the addresses that have none.
func await(ctx context.Context, watcher *watch.Watcher, held *ipvs.Hold, timeout time.Duration) ([]ipvs.Address, error) {
	up := time.After(timeout)
	for {
		if err := watcher.Sync([]string{ipvs.HoldFolder}); err != nil {
			return nil, err
		}
		left, err := held.Left()
		if err != nil || len(left) == 0 {
			return nil, err
		}
		var again <-chan time.Time
		if watcher.Blind() {
			again = time.After(100 * time.Millisecond)
		}
		select {
		case <-watcher.Changed():
		case <-again:
		case <-up:
			return left, nil
		case <-ctx.Done():
			return left, nil
		}
	}
}

func joined(addresses []ipvs.Address) string {
	var names []string
	for _, at := range addresses {
		names = append(names, at.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
