// Package docker is what the helpers need of the Docker daemon, on top of
// Docker's own client: patience while the daemon restarts, pulling with
// progress and credentials, and waiting for a container's end at next to no
// cost.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/notify"
)

// Daemon is a connection to the Docker daemon.
type Daemon struct {
	*client.Client
	patience time.Duration
	ending   bool // see ConnectToEnd
	notify   notify.Notifier
}

// Connect returns a connection to the daemon that $DOCKER_HOST names (the local
// one when it is unset), speaking an API version that both sides know. A daemon
// that cannot be reached is waited for, here and in Retry, for at most patience.
func Connect(ctx context.Context, n notify.Notifier, patience time.Duration) (*Daemon, error) {
	return connect(ctx, n, patience, false)
}

// ConnectToEnd is Connect for what ends a container: a daemon that was
// stopped by hand is not waited for. The error is ErrStopped then.
func ConnectToEnd(ctx context.Context, n notify.Notifier, patience time.Duration) (*Daemon, error) {
	return connect(ctx, n, patience, true)
}

func connect(ctx context.Context, n notify.Notifier, patience time.Duration, ending bool) (*Daemon, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("use the Docker daemon that DOCKER_HOST names: %w", err)
	}
	d := &Daemon{Client: c, patience: patience, ending: ending, notify: n}
	ping := d.unlessAsleep(ctx, func() error {
		// A daemon that is starting, or a systemd socket that has yet to start it,
		// accepts the connection and says nothing.
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ping, err := c.Ping(limited)
		if err != nil {
			if limited.Err() != nil && ctx.Err() == nil {
				return d.absent(err)
			}
			return err
		}
		c.NegotiateAPIVersionPing(ping)
		return nil
	})
	if err := d.retry(ctx, ping, ping); err != nil {
		c.Close()
		return nil, err
	}
	return d, nil
}

// Retry calls f until it fails for another reason than a daemon that cannot be
// reached, or has been unreachable for too long.
func (d *Daemon) Retry(ctx context.Context, f func() error) error {
	return d.retry(ctx, f, d.unlessAsleep(ctx, f))
}

// retry is Retry, with another function for all calls but the first.
func (d *Daemon) retry(ctx context.Context, f, again func() error) error {
	const firstPause = 100 * time.Millisecond
	var since time.Time
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		began := time.Now()
		err := f()
		f = again
		if !unreachable(err) {
			return err
		}
		// A daemon that broke off what it did for long was there until now.
		if since.IsZero() || brokeOff(err) && time.Since(began) > d.patience {
			since, pause = time.Now(), firstPause
		}
		if errors.Is(err, fs.ErrPermission) {
			return hint.Add(fmt.Errorf("no permission to use the Docker daemon at %s", d.DaemonHost()), "run this as root or as a member of its group")
		}
		if d.ending && errors.Is(err, ErrStopped) || time.Since(since)+pause > d.patience {
			return d.absent(err)
		}
		d.notify.Status("waiting for the Docker daemon at %s", d.DaemonHost())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// absent is the error for a daemon that has been unreachable for too long.
func (d *Daemon) absent(err error) error {
	if errors.Is(err, ErrStopped) {
		waited := ""
		if !d.ending {
			waited = fmt.Sprintf(" (waited %s for it)", d.patience)
		}
		return hint.Add(&absentError{fmt.Sprintf("%v%s", err, waited), err}, "run systemctl start %s", localUnit)
	}
	remedy := "check DOCKER_HOST, which names it"
	if d.local() {
		remedy = "run systemctl status " + localUnit
	}
	return hint.Add(&absentError{fmt.Sprintf("the Docker daemon at %s does not answer (waited %s%s)",
		d.DaemonHost(), d.patience, cause(err)), err}, "%s", remedy)
}

// cause returns, behind a colon, why there was no connection, where that says more
// than that there was none.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	reason := Reason(err)
	if strings.HasPrefix(reason, "Cannot connect to the Docker daemon at ") {
		return ""
	}
	return ": " + reason
}

type absentError struct {
	message string
	err     error
}

func (e *absentError) Error() string { return e.message }
func (e *absentError) Unwrap() error { return e.err }

// OfHost reports whether err says that the host, or the way to a registry, lacks
// something for now: what failed for that may succeed later as it is. The daemon
// tells so in its words only.
func OfHost(err error) bool {
	if errors.As(err, new(*absentError)) {
		return true
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc(hostWords, func(words string) bool { return strings.Contains(text, words) })
}

var hostWords = []string{
	// the registry, and the way there
	"connection refused", "connection reset", "connection timed out", "i/o timeout", "tls handshake timeout", "client.timeout exceeded",
	"deadline exceeded", "request canceled while waiting", "network is unreachable", "no route to host", "unexpected eof", "no such host",
	"server misbehaving", "temporary failure in name resolution", "toomanyrequests", "too many requests", "internal server error",
	"bad gateway", "service unavailable", "gateway time",
	// the host
	"no space left on device", "disk quota exceeded", "input/output error", "cannot allocate memory", "too many open files",
	"no available ipv4 addresses", "iptables failed",
}

// unreachable reports whether err says that the daemon is not there, or went away.
func unreachable(err error) bool {
	if err == nil || errors.As(err, new(*absentError)) {
		return false
	}
	return errors.Is(err, ErrStopped) || client.IsErrConnectionFailed(err) || brokeOff(err)
}

// brokeOff reports whether err says that the daemon went away in the middle of
// its answer.
func brokeOff(err error) bool {
	return !client.IsErrConnectionFailed(err) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))
}

// Reason returns what the daemon says in err as one line, without the phrases
// that the layers it went through put before and behind it.
func Reason(err error) string {
	reason := strings.Join(strings.Fields(err.Error()), " ")
	for _, noise := range []string{
		"Error response from daemon: ", "Error: ",
		"failed to create task for container: ", "failed to create shim task: ",
		"OCI runtime create failed: ", "runc create failed: ", "unable to start container process: ",
	} {
		reason = strings.TrimPrefix(reason, noise)
	}
	// containerd's word for an error of a class it has no name for.
	reason = strings.TrimSuffix(reason, ": unknown")
	parts := strings.Split(reason, ": ")
	for len(parts) > 1 && parts[len(parts)-1] == parts[len(parts)-2] {
		parts = parts[:len(parts)-1]
	}
	reason = strings.TrimSuffix(strings.Join(parts, ": "), ".")
	return dockerHelp.ReplaceAllString(reason, "")
}

// dockerHelp is a hint about the command line of docker, which was not typed.
var dockerHelp = regexp.MustCompile(`\.? *(See|Run) 'docker [^']*'( for more information)?\.?$`)
