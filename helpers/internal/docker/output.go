package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Output is the end of a container's output.
type Output []Line

// Line is one line of a container's output.
type Line struct {
	Time   time.Time
	Stderr bool
	Text   string
}

// LastLines returns the container's last n lines of output, oldest first,
// without empty ones. It needs a log driver that can be read.
func (d *Daemon) LastLines(ctx context.Context, c container.InspectResponse, n int) (Output, error) {
	logs, err := d.ContainerLogs(ctx, c.ID, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: fmt.Sprint(n),
	})
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	return readOutput(io.LimitReader(logs, 1<<20), c.Config.Tty)
}

// readOutput reads the daemon's answer to a request for logs with timestamps: one
// stream, or two in one unless there is a terminal. What comes before an error is
// returned with it.
func readOutput(logs io.Reader, tty bool) (Output, error) {
	var stdout, stderr bytes.Buffer
	var err error
	if tty {
		_, err = io.Copy(&stdout, logs)
	} else {
		_, err = stdcopy.StdCopy(&stdout, &stderr, logs)
	}
	var o Output
	for _, stream := range []struct {
		text   string
		stderr bool
	}{{stdout.String(), false}, {stderr.String(), true}} {
		for text := range strings.Lines(stream.text) {
			stamp, text, _ := strings.Cut(text, " ")
			at, timeErr := time.Parse(time.RFC3339Nano, stamp)
			if timeErr != nil {
				continue
			}
			if text = strings.TrimSpace(text); text != "" {
				o = append(o, Line{at, stream.stderr, text})
			}
		}
	}
	slices.SortStableFunc(o, func(a, b Line) int { return a.Time.Compare(b.Time) })
	return o, err
}

// LastWords returns the line that most likely says why the container ended, empty when
// there is none: the last one. Standard output and standard error are two pipes, so the
// order of lines from the same moment is unknown: among these, the last one of standard
// error.
func (o Output) LastWords() string {
	if len(o) == 0 {
		return ""
	}
	last := o[len(o)-1]
	for _, line := range slices.Backward(o) {
		if last.Time.Sub(line.Time) > 100*time.Millisecond {
			break
		}
		if line.Stderr {
			return line.Text
		}
	}
	return last.Text
}
