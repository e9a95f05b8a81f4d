//go:build !ipvs_file

package ipvs

import (
	"fmt"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs/reach"
)

// openPaths lets every client reach those destinations. The lock must be held.
func openPaths(places ...Place) error {
	if len(places) == 0 {
		return nil
	}
	if err := setConntrack(); err != nil {
		return err
	}
	paths := make([]reach.Path, 0, len(places))
	for _, p := range places {
		paths = append(paths, reach.Path{Address: p.Address.AddrPort, Protocol: uint8(p.Address.Protocol), Destination: p.Destination.Addr()})
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
