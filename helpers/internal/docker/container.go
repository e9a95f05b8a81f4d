package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// ErrGone says that a container was removed while it was being used.
var ErrGone = errors.New("another program removed the container")

// Find returns the container with exactly that name. The daemon also takes the
// first digits of an id for a name: a container called "cafe" must not be mixed
// up with one whose id begins so.
func (d *Daemon) Find(ctx context.Context, name string) (c container.InspectResponse, found bool, err error) {
	err = d.Retry(ctx, func() error {
		return d.Within(ctx, d.patience, func(ctx context.Context) error {
			c, err = d.ContainerInspect(ctx, name)
			return err
		})
	})
	if cerrdefs.IsNotFound(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("look for container %s: %w", name, err)
	}
	return c, c.Name == "/"+name, nil
}

// Inspect returns the container with that id. The error is ErrGone when there is none.
func (d *Daemon) Inspect(ctx context.Context, id string) (c container.InspectResponse, err error) {
	err = d.Retry(ctx, func() error {
		c, err = d.ContainerInspect(ctx, id)
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return c, ErrGone
	}
	if err != nil {
		return c, fmt.Errorf("look at container %s: %w", Short(id), Brief(err))
	}
	return c, nil
}

// Labelled returns all containers with a label, which is NAME or NAME=VALUE.
func (d *Daemon) Labelled(ctx context.Context, label string) (containers []container.Summary, err error) {
	err = d.Retry(ctx, func() error {
		return d.Within(ctx, d.patience, func(ctx context.Context) error {
			containers, err = d.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the containers with label %s: %w", label, Brief(err))
	}
	return containers, nil
}

// NameOf returns the name of a container in a list.
func NameOf(c container.Summary) string { return strings.TrimPrefix(strings.Join(c.Names, " "), "/") }

// RemoveNamed removes the container with exactly that name and its anonymous
// volumes, and reports whether there was one. It is killed if it runs.
func (d *Daemon) RemoveNamed(ctx context.Context, name string) (bool, error) {
	c, found, err := d.Find(ctx, name)
	if err != nil || !found {
		return false, err
	}
	return true, d.Remove(ctx, c.ID)
}

// Removal is how long the daemon may take to kill a container and to remove it, before its
// silence tries the patience with it.
const Removal = 5 * time.Second

// Remove removes the container with that id and its anonymous volumes. It is
// killed if it runs. One that is gone already is fine, and one that the daemon
// is removing already is waited for.
func (d *Daemon) Remove(ctx context.Context, id string) error {
	deadline := time.Now().Add(d.patience)
	for {
		err := d.Retry(ctx, func() error {
			return d.Within(ctx, Removal+d.patience, func(ctx context.Context) error {
				return d.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
			})
		})
		if err == nil || cerrdefs.IsNotFound(err) {
			return nil
		}
		removing := cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress")
		if !removing || time.Now().After(deadline) {
			return fmt.Errorf("remove container %s: %w", Short(id), Brief(err))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Ended waits until the container with that id is not, or no longer, running, and returns
// its last state. The error is ErrGone when there is no such container.
func (d *Daemon) Ended(ctx context.Context, id string) (last container.InspectResponse, err error) {
	err = d.Retry(ctx, func() error {
		results, errs := d.ContainerWait(ctx, id, container.WaitConditionNotRunning)
		select {
		case err := <-errs:
			if err != nil {
				return err
			}
		case <-results:
		}
		last, err = d.ContainerInspect(ctx, id)
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return last, ErrGone
	}
	if err != nil {
		return last, fmt.Errorf("ask how container %s ended: %w", Short(id), err)
	}
	return last, nil
}

// Addresses returns the container's addresses in the network that it was created in, or
// else in the first one by name; each is empty where it has none.
func Addresses(c container.InspectResponse) (ip4, ip6 string) {
	if c.NetworkSettings == nil {
		return "", ""
	}
	networks := c.NetworkSettings.Networks
	own := ""
	if c.HostConfig != nil {
		own = c.HostConfig.NetworkMode.NetworkName()
	}
	if networks[own] == nil {
		for name, n := range networks {
			if n != nil && (networks[own] == nil || name < own) {
				own = name
			}
		}
	}
	if n := networks[own]; n != nil {
		return n.IPAddress, n.GlobalIPv6Address
	}
	return "", ""
}

// Short returns the first digits of an id, as docker ps shows it.
func Short(id string) string { return id[:min(len(id), 12)] }
