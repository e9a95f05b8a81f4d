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

// Left returns a container whose first process has ended as soon as the daemon knows
// that: as it has ended, or as it runs again after "docker restart". visible
// says that its processes are to be seen from here.
func (d *Daemon) Left(ctx context.Context, id string, visible bool) (container.InspectResponse, error) {
	for {
		c, err := d.Inspect(ctx, id)
		if err != nil || !c.State.Running || !visible || d.lives(c) {
			return c, err
		}
		// A container that is restarted right now would be waited for until its next
		// end.
		moment, cancel := context.WithTimeout(ctx, time.Second)
		c, err = d.Ended(moment, id)
		cancel()
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}

// lives reports whether the first process of a container lives.
func (d *Daemon) lives(c container.InspectResponse) bool {
	p, err := d.Process(c)
	if err != nil {
		return false
	}
	defer p.Close()
	return !p.Ended()
}

// Restarted reports whether the daemon starts a container that has ended (as Left
// returned it) again, after "docker restart", and returns it as it
// runs then. A container that ended by itself is not waited for.
func (d *Daemon) Restarted(ctx context.Context, c container.InspectResponse) (container.InspectResponse, bool) {
	if c.State.Running {
		return c, true
	}
	if !d.startsAgain(ctx, c) {
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
