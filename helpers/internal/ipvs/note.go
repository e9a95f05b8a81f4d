package ipvs

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Docker gives the address of a container that has ended to the next one, at once.
// The unit of the first may still be about to take its destination out, which is
// the destination of the second by then. So whoever adds a destination is noted as
// its owner, by the id of the container, until it is removed.

// ownerFolder has a file for each destination that has an owner.
const ownerFolder = runFolder + "/ipvs"

func ownerFile(at Address, to netip.AddrPort) string {
	return filepath.Join(ownerFolder, strings.ReplaceAll(at.String(), "/", "-")+"_"+to.String())
}

// setOwner notes the owner of a destination; with an empty one, that it has none.
// The lock must be held.
func setOwner(at Address, to netip.AddrPort, owner string) error {
	if owner == "" {
		return forgetOwner(at, to)
	}
	err := os.MkdirAll(ownerFolder, 0o755)
	if err == nil {
		err = os.WriteFile(ownerFile(at, to), []byte(owner), 0o644)
	}
	if err != nil {
		return fmt.Errorf("note the owner of %s at %s: %w", to, at, err)
	}
	return nil
}

// forgetOwner notes that a destination has no owner. The lock must be held.
func forgetOwner(at Address, to netip.AddrPort) error {
	err := os.Remove(ownerFile(at, to))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the owner of %s at %s: %w", to, at, err)
	}
	return nil
}

// ofAnother reports whether a destination is known to be of another owner. Who has
// no name is refused nothing, and neither is anybody at a destination without one.
// The lock must be held.
func ofAnother(at Address, to netip.AddrPort, owner string) (bool, error) {
	if owner == "" {
		return false, nil
	}
	noted, err := os.ReadFile(ownerFile(at, to))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look up the owner of %s at %s: %w", to, at, err)
	}
	return len(noted) > 0 && string(noted) != owner, nil
}
