package probe

import (
	"errors"
	"net"
)

// alive is a probe that is healthy as long as the unit's main process runs. It asks
// nothing: that process is watched during every probe.
type alive struct{}

// aliveURL is how it is written.
const aliveURL = "process:"

// ErrNoProcess says that there is nothing whose life could be watched.
var ErrNoProcess = errors.New(aliveURL + " is for ExecStartPost= of a unit with a main process")

func (alive) String() string                   { return "the main process" }
func (alive) place() (network, address string) { return "", "" }
func (alive) ask(net.Conn) (string, error)     { return "runs", nil }

// NeedsProcess reports whether a probe is about the unit's main process alone.
func NeedsProcess(p Probe) bool {
	_, only := p.(alive)
	return only
}
