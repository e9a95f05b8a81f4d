// Package docker adds to Docker's own client what the helpers need: patience while the
// daemon restarts, pulling with progress and credentials, and waiting for a container's
// end at next to no cost.
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

// Connect returns a connection to the daemon that $DOCKER_HOST names (the local one when
// it is unset), with an API version that both sides speak. Here and in Retry, a daemon
// that cannot be reached is waited for, for at most patience.
func Connect(ctx context.Context, n notify.Notifier, patience time.Duration) (*Daemon, error) {
	return connect(ctx, n, patience, false)
}

// ConnectToEnd is Connect for what ends a container: it does not wait for a daemon that
// was stopped by hand. The error is ErrStopped then.
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
		return d.Within(ctx, patience, func(ctx context.Context) error {
			ping, err := c.Ping(ctx)
			if err == nil {
				c.NegotiateAPIVersionPing(ping)
			}
			return err
		})
	})
	if err := d.retry(ctx, ping, ping); err != nil {
		c.Close()
		return nil, err
	}
	return d, nil
}

// Retry calls f again while it fails because the daemon cannot be reached, until that has
// lasted too long.
func (d *Daemon) Retry(ctx context.Context, f func() error) error {
	return d.retry(ctx, f, d.unlessAsleep(ctx, f))
}

// retry is Retry with another function for every call but the first.
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
		// A daemon that broke off a long request was there until now.
		if since.IsZero() || brokeOff(err) && time.Since(began) > d.patience {
			since, pause = time.Now(), firstPause
		}
		if errors.Is(err, fs.ErrPermission) {
			return hint.Add(fmt.Errorf("no permission to use the Docker daemon at %s", d.DaemonHost()), "run this as root or as a member of its group")
		}
		if d.ending && errors.Is(err, ErrStopped) || time.Since(since)+pause > d.patience {
			return d.absent(err, d.patience)
		}
		d.notify.Status("waiting for the Docker daemon at %s", d.DaemonHost())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Within calls f with a context that ends after limit. If f fails by then because of that,
// the daemon hangs: Absent is true of the error.
func (d *Daemon) Within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(limited)
	if err == nil || limited.Err() == nil || ctx.Err() != nil || Absent(err) {
		return err
	}
	return d.absent(err, limit)
}

// Absent reports whether err says that the daemon cannot be reached, or does not answer.
func Absent(err error) bool { return errors.As(err, new(*absentError)) }

// absent is the error for a daemon that has been unreachable for too long.
func (d *Daemon) absent(err error, waited time.Duration) error {
	if errors.Is(err, ErrStopped) {
		suffix := ""
		if !d.ending {
			suffix = fmt.Sprintf(" (waited %s for it)", waited)
		}
		return hint.Add(&absentError{fmt.Sprintf("%v%s", err, suffix), err}, "run systemctl start %s", Unit)
	}
	remedy := "check DOCKER_HOST, which names it"
	if d.local() {
		remedy = "run systemctl status " + Unit
	}
	return hint.Add(&absentError{fmt.Sprintf("the Docker daemon at %s does not answer (waited %s%s)",
		d.DaemonHost(), waited, cause(err)), err}, "%s", remedy)
}

// cause returns, after a colon, why there was no connection, where that says more than
// that there was none.
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

// OfHost reports whether err says that the host, or the way to a registry, is lacking
// something for the moment, so that the same request may succeed later. The daemon says
// so only in prose.
func OfHost(err error) bool {
	if Absent(err) {
		return true
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc(hostWords, func(words string) bool { return strings.Contains(text, words) })
}

var hostWords = []string{
	// the registry, and the way there
	"connection refused", "connection reset", "connection timed out", "i/o timeout", "tls handshake timeout", "client.timeout exceeded",
	"deadline exceeded", "request canceled while waiting", "network is unreachable", "no route to host", "unexpected eof", ": eof", "broken pipe", "no such host",
	"server misbehaving", "temporary failure in name resolution", "toomanyrequests", "too many requests", "internal server error",
	"bad gateway", "service unavailable", "gateway time",
	// the host
	"no space left on device", "disk quota exceeded", "input/output error", "cannot allocate memory", "too many open files",
	"no available ipv4 addresses", "iptables failed", "disconnected from message bus",
}

// unreachable reports whether err says that the daemon is not there, or went away.
func unreachable(err error) bool {
	if err == nil || Absent(err) {
		return false
	}
	return errors.Is(err, ErrStopped) || client.IsErrConnectionFailed(err) || brokeOff(err)
}

// brokeOff reports whether err says that the daemon went away in the middle of
// its answer.
func brokeOff(err error) bool {
	return !client.IsErrConnectionFailed(err) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))
}

// Reason returns what the daemon says in err as one line, without the phrases that the
// layers in between have wrapped around it, and without the queries of URLs: every user
// may read it, and what a registry has signed gives away what it leads to.
func Reason(err error) string {
	reason := strings.Join(strings.Fields(err.Error()), " ")
	reason = query.ReplaceAllString(reason, "$1…")
	for _, noise := range []string{
		"Error response from daemon: ", "Error: ",
		"failed to create task for container: ", "failed to create shim task: ",
		"OCI runtime create failed: ", "runc create failed: ", "unable to start container process: ",
	} {
		reason = strings.TrimPrefix(reason, noise)
	}
	// containerd says this where it has no class for an error.
	reason = strings.TrimSuffix(reason, ": unknown")
	parts := strings.Split(reason, ": ")
	for len(parts) > 1 && parts[len(parts)-1] == parts[len(parts)-2] {
		parts = parts[:len(parts)-1]
	}
	reason = strings.TrimSuffix(strings.Join(parts, ": "), ".")
	return dockerHelp.ReplaceAllString(reason, "")
}

// query matches a URL up to the end of its query, which is what follows the group: not the
// punctuation around the URL.
var query = regexp.MustCompile(`(://[^\s"?]*\?)[^\s"]*[^\s"'\\:;,.)>\]}]`)

// Brief returns err with its Reason as the text.
func Brief(err error) error { return &briefError{Reason(err), err} }

// briefError says less than the error that it stands for.
type briefError struct {
	message string
	err     error
}

func (e *briefError) Error() string { return e.message }
func (e *briefError) Unwrap() error { return e.err }

// dockerHelp is a hint about the command line of docker, which is not what the user
// typed.
var dockerHelp = regexp.MustCompile(`\.? *(See|Run) 'docker [^']*'( for more information)?\.?$`)
