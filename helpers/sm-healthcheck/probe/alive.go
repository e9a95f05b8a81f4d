package probe

import "net"

// alive is a probe that is healthy as long as the unit's main process runs. It asks
// nothing: that process is watched during every probe.
type alive struct{}

// aliveURL is how it is written.
const aliveURL = "process:"

func (alive) String() string                   { return "the main process" }
func (alive) place() (network, address string) { return "", "" }
func (alive) ask(net.Conn) (string, error)     { return "runs", nil }
func (alive) needsProcess()                    {}
