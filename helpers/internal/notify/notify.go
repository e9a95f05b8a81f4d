// Package notify tells systemd about the state of the unit that a helper runs
// in: ready, a status line for systemctl, more time before a time-out strikes.
// Without a listening service manager every message is dropped, so that helpers
// behave the same in a terminal.
package notify

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"service-manager/units/printable"
)

// Notifier sends notifications. The zero value sends nothing.
type Notifier struct {
	send      func(state string)
	extension *extension // nil when no one listens
}

// FromEnvironment returns a Notifier to the service manager that started this
// process, as named by $NOTIFY_SOCKET.
func FromEnvironment() Notifier {
	n := Notifier{send: func(state string) {
		// A lost notification must not fail the work it tells about.
		_, _ = daemon.SdNotify(false, state)
	}}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		n.extension = &extension{send: n.send, folder: generated, every: 40 * time.Millisecond}
	}
	return n
}

// To returns a Notifier that hands every message to send, for tests.
func To(send func(state string)) Notifier {
	var mu sync.Mutex
	return Notifier{send: func(state string) {
		mu.Lock()
		defer mu.Unlock()
		send(state)
	}}
}

func (n Notifier) message(state string) {
	if n.send != nil {
		n.send(state)
	}
}

// Ready says that the service has started.
func (n Notifier) Ready() { n.message(daemon.SdNotifyReady) }

// Stopping says that the service has begun to stop.
func (n Notifier) Stopping() { n.message(daemon.SdNotifyStopping) }

// Status sets the line that systemctl status shows. It may contain anything: unescaped,
// systemd would take what follows a line break or carriage return for another assignment,
// such as the process to watch, and a backslash for an escape.
func (n Notifier) Status(format string, args ...any) {
	n.message("STATUS=" + strings.ReplaceAll(printable.Sprintf(format, args...).String(), `\`, `\\`))
}

// Outlast keeps a reload of systemd from ending the running step within d from now. Unlike
// ExtendTimeout, it leaves the unit's time-outs as they are.
func (n Notifier) Outlast(d time.Duration) {
	if n.extension != nil {
		n.extension.set(d)
	}
}

// ExtendTimeout asks for at least another d for the running step, counted from now,
// whatever the unit's time-outs say, and however often systemd reloads meanwhile.
func (n Notifier) ExtendTimeout(d time.Duration) {
	n.message(extend(d))
	n.Outlast(d)
}
