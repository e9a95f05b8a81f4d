package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// How long "docker restart" may take from the container's end until the daemon says that
// it has stopped, and from there to its start. After "docker kill" the daemon never says
// that it has stopped, and after "docker stop" no start follows.
const (
	stoppedWithin = 500 * time.Millisecond
	startedWithin = 3 * time.Second
)

// Left waits until the daemon knows that a container's first process has ended, and
// returns the container: as it ended, or as it runs again after "docker restart". visible
// says that its processes can be seen from here.
func (d *Daemon) Left(ctx context.Context, id string, visible bool) (container.InspectResponse, error) {
	for {
		c, err := d.Inspect(ctx, id)
		if err != nil || !c.State.Running || !visible || d.lives(c) {
			return c, err
		}
		// If the container is being restarted right now, this would wait for its next
		// end.
		moment, cancel := context.WithTimeout(ctx, time.Second)
		c, err = d.Ended(moment, id)
		cancel()
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}

// lives reports whether the first process of a container is alive.
func (d *Daemon) lives(c container.InspectResponse) bool {
	p, err := d.Process(c)
	if err != nil {
		return false
	}
	defer p.Close()
	return !p.Ended()
}

// Restarted reports whether the daemon starts a container that has ended (as Left
// returned it) again, as "docker restart" makes it, and returns the running container
// then. It does not wait for one that ended by itself.
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

// startsAgain reads the daemon's events about a container since its last start, until
// they say that it has started again, or until that is not to be expected.
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
