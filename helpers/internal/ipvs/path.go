//go:build !ipvs_file

package ipvs

import (
	"fmt"
	"slices"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs/reach"
)

// openPaths lets every client reach the noted destinations. The lock must be held.
func openPaths(notes map[Place]note) error {
	if len(notes) == 0 {
		return nil
	}
	if err := setConntrack(); err != nil {
		return err
	}
	paths := make([]reach.Path, 0, len(notes))
	for p, n := range notes {
		paths = append(paths, reach.Path{Address: p.Address.AddrPort, Protocol: uint8(p.Address.Protocol), Destination: p.Destination, Watch: n.watch})
	}
	if err := reach.Open(paths...); err != nil {
		return hint.Add(err, "the kernel needs nftables with dup, fib, ct and masquerade; see lsmod and dmesg")
	}
	return nil
}

// closePath forgets an address without a virtual service. The lock must be held.
func closePath(at Address) error {
	empty, err := reach.Close(at.AddrPort, uint8(at.Protocol))
	if err == nil && empty {
		err = resetConntrack()
	}
	if err != nil {
		return fmt.Errorf("after the last destination of %s: %w", at, err)
	}
	return nil
}

// catchPackets holds the packets that clients send to the addresses.
func catchPackets(addresses []Address) (catch, error) {
	targets := make([]reach.Target, 0, len(addresses))
	for _, at := range addresses {
		targets = append(targets, reach.Target{Address: at.AddrPort, Protocol: uint8(at.Protocol)})
	}
	return reach.Hold(targets...)
}

// Reachable reports whether the way that Add made for clients of an address is open. An
// address at which nothing was added is not this program's business, and counts as
// reachable.
func Reachable(at Address) (bool, error) {
	places, err := noted()
	if err != nil || !slices.ContainsFunc(places, func(p Place) bool { return p.Address == at }) {
		return true, err
	}
	return reach.IsOpen(at.AddrPort, uint8(at.Protocol))
}
