package keeper

import (
	"context"
	"fmt"
	"strings"
	"time"

	"service-manager/helpers/internal/systemd"
)

func restartUnit(ctx context.Context, unit string) error {
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.TryRestartAndWait(ctx, unit)
}

// restartSome restarts units of containers that have been unhealthy for too long, one of
// a service at a time.
func (k *Keeper) restartSome(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, s := range k.subjects {
		if s.health() != failing || s.restarts.IsZero() || now.Before(s.restarts) || s.Unit == "" || k.restarting[s.service()] {
			continue
		}
		k.restarting[s.service()] = true
		// If that does not help, again after the same time.
		s.restarts = now.Add(s.Check.RestartAfter)
		fmt.Fprintf(k.w.Stdout, "%s: unhealthy for %s: restarting %s\n", s.Name, now.Sub(s.since).Round(time.Second), s.Unit)
		go func() {
			err := k.restart(ctx, s.Unit)
			if err != nil && ctx.Err() == nil {
				k.w.Warn(fmt.Errorf("%s: %w", s.Name, err))
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.restarting, s.service())
		}()
	}
}

// service is the part of a unit's name before the @, or all of it: what it shares with
// others of its service.
func (s *subject) service() string {
	service, _, _ := strings.Cut(s.Unit, "@")
	return service
}
