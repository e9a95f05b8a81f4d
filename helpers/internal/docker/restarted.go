package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// How long "docker restart" may take from the container's end to saying that it is
// stopped, and from there to its start. "docker kill" never says stopped, and "docker
// stop" is followed by no start.
const (
	stoppedWithin = 500 * time.Millisecond
	startedWithin = 3 * time.Second
)

// Restarted reports whether the daemon starts a container that has ended (as Ended
// returned it) again, because somebody said "docker restart", and returns it as it
// runs then. A container that ended by itself is not waited for.
func (d *Daemon) Restarted(ctx context.Context, c container.InspectResponse) (container.InspectResponse, bool) {
	if !c.State.Running && !d.startsAgain(ctx, c) {
		return c, false
	}
	c, err := d.Inspect(ctx, c.ID)
	return c, err == nil && c.State.Running
}

// startsAgain reads what the daemon tells of a container from its last start on,
// until it says that it is started again, or until that is not to be expected.
func (d *Daemon) startsAgain(ctx context.Context, c container.InspectResponse) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told, broken := d.Events(ctx, events.ListOptions{Since: c.State.StartedAt, Filters: filters.NewArgs(filters.Arg("container", c.ID))})
	limit := time.NewTimer(stoppedWithin)
	killed := false
	for {
		select {
		case event := <-told:
			switch event.Action {
			case events.ActionKill:
				killed = true
			case events.ActionDie:
				if !killed {
					return false
				}
			case events.ActionStop:
				limit.Reset(startedWithin)
			case events.ActionStart:
				if killed {
					return true
				}
			}
		case <-broken:
			return false
		case <-limit.C:
			return false
		}
	}
}
