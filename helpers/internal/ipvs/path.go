//go:build !ipvs_file

package ipvs

import (
	"errors"
	"fmt"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs/reach"
)

// openPaths lets every client reach the noted destinations. The lock must be held.
func openPaths(notes map[Place]note) error {
	if len(notes) == 0 {
		return nil
	}
	// Where /proc/sys cannot be written, clients whom no firewall looks at can still be let
	// in.
	conntrack := setConntrack()
	paths := make([]reach.Path, 0, len(notes))
	for p, n := range notes {
		paths = append(paths, reach.Path{Address: p.Address.AddrPort, Protocol: uint8(p.Address.Protocol), Destination: p.Destination, Watch: n.watch})
	}
	opened := reach.Open(paths...)
	return errors.Join(conntrack, hint.Add(opened, "the kernel needs nftables with dup, fib, ct and masquerade; see lsmod and dmesg"))
}

// closePath forgets an address without a virtual service. The lock must be held.
func closePath(at Address) error {
	empty, err := reach.Close(at.AddrPort, uint8(at.Protocol))
	if err == nil && empty {
		// Or another program has removed the table: then the notes tell.
		var left []Place
		if left, _, err = notesHere(); err == nil && len(left) == 0 {
			err = resetConntrack()
		}
	}
	if err != nil {
		return fmt.Errorf("after the last destination of %s: %w", at, err)
	}
	return nil
}

func target(at Address) reach.Target {
	return reach.Target{Address: at.AddrPort, Protocol: uint8(at.Protocol)}
}

// catchPackets holds the packets that clients send to the addresses.
func catchPackets(addresses []Address) (catch, error) {
	targets := make([]reach.Target, 0, len(addresses))
	for _, at := range addresses {
		targets = append(targets, target(at))
	}
	return reach.Hold(targets...)
}

// Reachable reports whether the way that Add made for clients of the addresses is open. An
// address at which nothing was added is not this program's business, and counts as
// reachable.
func Reachable(addresses ...Address) (bool, error) {
	places, err := noted()
	if err != nil {
		return true, err
	}
	added := make(map[Address]bool, len(places))
	for _, p := range places {
		added[p.Address] = true
	}
	var targets []reach.Target
	for _, at := range addresses {
		if added[at] {
			targets = append(targets, target(at))
		}
	}
	return reach.IsOpen(targets...)
}

func generation() (uint32, error) { return reach.Generation() }
