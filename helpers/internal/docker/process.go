package docker

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"

	"service-manager/helpers/internal/process"
)

// Process returns a handle on the first process of a running container. Waiting on it
// takes no connection, so it outlasts a daemon that restarts and leaves its containers
// running. It fails when that process cannot be seen from here (another host, another PID
// namespace, a virtual machine) or has ended.
func (d *Daemon) Process(c container.InspectResponse) (*process.Process, error) {
	if c.State == nil || c.State.Pid <= 0 {
		return nil, fmt.Errorf("container %s has no process", Short(c.ID))
	}
	if !strings.HasPrefix(d.DaemonHost(), "unix://") {
		return nil, fmt.Errorf("the Docker daemon at %s is not on this host", d.DaemonHost())
	}
	return process.OpenIn(c.State.Pid, c.ID)
}
