// Package running knows the containers that units of this host run: of each, its first
// process, its unit, and how to ask whether it is healthy. Whatever starts a container
// notes that here, for the program that watches over it.
package running

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/process"
	"service-manager/units/revision/atomicfile"
)

// Folder holds the notes. It need not exist.
type Folder string

// Host is the folder of this host. What is in it is gone with the next boot.
const Host Folder = "/run/service-manager/containers"

// Container is a container that runs, or has ended a short while ago.
type Container struct {
	ID    string `json:"-"`
	Name  string `json:"name"`
	Unit  string `json:"unit,omitempty"` // empty when it is not known
	PID   int    `json:"pid"`            // of its first process, at the latest start
	Check *Check `json:"-"`              // nil when it is not asked
}

// Check says how a container is asked, for as long as it runs.
type Check struct {
	URL          string        `json:"url"` // as sm-healthcheck takes it
	Headers      []string      `json:"headers,omitempty"`
	Verify       bool          `json:"verify,omitempty"` // whether a certificate must be valid
	Interval     time.Duration `json:"interval"`
	Timeout      time.Duration `json:"timeout"`                 // of one probe
	Failures     int           `json:"failures"`                // in a row, that make it unhealthy; at least 1
	RestartAfter time.Duration `json:"restart_after,omitempty"` // unhealthy for so long, it is restarted; 0: never
}

// checkSuffix ends the name of the file with a container's check; the file with the rest
// is named after its id.
const checkSuffix = ".check"

// id matches the id of a container.
var id = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Note notes a running container, without its check.
func (f Folder) Note(c Container) error { return f.write(c.ID, "", c) }

// NoteCheck notes the check of a container.
func (f Folder) NoteCheck(container string, c Check) error { return f.write(container, checkSuffix, c) }

func (f Folder) write(container, suffix string, content any) error {
	if !id.MatchString(container) {
		return fmt.Errorf("note a container: %q is not the id of one", container)
	}
	text, err := json.Marshal(content)
	if err == nil {
		err = os.MkdirAll(string(f), 0o700)
	}
	if err == nil {
		// A URL may hold a password.
		err = atomicfile.Write(filepath.Join(string(f), container+suffix), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note container %s: %w", container, err)
	}
	return nil
}

// Read returns a container, and false when it is not noted.
func (f Folder) Read(container string) (c Container, found bool, err error) {
	if !id.MatchString(container) {
		return c, false, nil
	}
	if found, err = f.read(container, "", &c); err != nil || !found {
		return c, false, err
	}
	c.ID = container
	var check Check
	asked, err := f.read(container, checkSuffix, &check)
	if asked {
		c.Check = &check
	}
	return c, true, err
}

func (f Folder) read(container, suffix string, into any) (found bool, err error) {
	text, err := os.ReadFile(filepath.Join(string(f), container+suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return false, fmt.Errorf("read what is known of container %s: %w", container, err)
	}
	return true, nil
}

// All returns every container that is noted. With an error it returns those that it could
// read.
func (f Folder) All() ([]Container, error) {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the containers: %w", err)
	}
	var all []Container
	var problems []error
	for _, entry := range entries {
		c, found, err := f.Read(entry.Name())
		if err != nil {
			problems = append(problems, err)
		}
		if found {
			all = append(all, c)
		}
	}
	return all, errors.Join(problems...)
}

// Forget deletes what is noted about a container.
func (f Folder) Forget(container string) error {
	var problems []error
	for _, suffix := range []string{checkSuffix, ""} {
		err := os.Remove(filepath.Join(string(f), container+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("forget container %s: %w", container, err))
		}
	}
	return errors.Join(problems...)
}

// ErrEnded says that the first process of a container has ended.
var ErrEnded = errors.New("the container has ended")

// Open returns a handle on the first process of a container. The error is ErrEnded when
// there is none.
func (c Container) Open() (*process.Process, error) {
	p, err := process.OpenIn(c.PID, c.ID)
	if err == nil && p.Ended() {
		p.Close()
		return nil, ErrEnded
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, process.ErrElsewhere) {
		return nil, ErrEnded
	}
	return p, err
}

// Lives reports whether the first process of a container runs.
func (c Container) Lives() (bool, error) {
	p, err := c.Open()
	if errors.Is(err, ErrEnded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, p.Close()
}

// Ended reports whether a container is known to have ended. One that is not noted is not
// known to.
func (f Folder) Ended(container string) (bool, error) {
	c, found, err := f.Read(container)
	if err != nil || !found {
		return false, err
	}
	lives, err := c.Lives()
	return !lives && err == nil, err
}
