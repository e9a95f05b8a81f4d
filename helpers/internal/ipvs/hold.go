package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// A Hold keeps clients waiting while their address has no destination, so that they are
// not refused.
type Hold struct {
	handle *Handle
	// files are locked as long as this process lives. Add removes the one for its
	// address.
	files  map[Address]*os.File
	caught catch
}

// ErrHeld says that another process keeps clients of an address waiting.
var ErrHeld = errors.New("another process holds it")

// A catch holds packets.
type catch interface {
	Packets() int
	Release() error
}

// HoldFolder has a file for each address that is held.
const HoldFolder = runFolder + "/holds"

func holdPath(at Address) string {
	return filepath.Join(HoldFolder, at.fileName())
}

// Hold keeps clients of the addresses waiting. Until it ends, virtual services at them
// stay, even without a destination. The error may be ErrHeld.
func (h *Handle) Hold(ctx context.Context, addresses ...Address) (*Hold, error) {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := os.MkdirAll(HoldFolder, 0o755); err != nil {
		return nil, fmt.Errorf("hold %s: %w", addresses[0], err)
	}
	hold := &Hold{handle: h, files: make(map[Address]*os.File)}
	for _, at := range addresses {
		file, err := os.OpenFile(holdPath(at), os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			hold.files[at] = file
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			file.Close()
			delete(hold.files, at)
			err = hint.Add(ErrHeld, "run fuser -v %s", file.Name())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("hold %s: %w", at, err), hold.forget())
		}
	}
	if hold.caught, err = catchPackets(addresses); err != nil {
		return nil, errors.Join(hint.Add(err, "the kernel needs nftables with queue; see lsmod and dmesg"), hold.forget())
	}
	return hold, nil
}

// Packets returns how many packets are held: the first one of each connection that
// clients open, and every datagram.
func (h *Hold) Packets() int { return h.caught.Packets() }

// Left returns the addresses that have no new destination yet.
func (h *Hold) Left() ([]Address, error) {
	var left []Address
	for at, file := range h.files {
		is, err := h.isLeft(at, file)
		if err != nil {
			return nil, err
		}
		if is {
			left = append(left, at)
		}
	}
	return left, nil
}

// isLeft reports whether the file of an address is still there.
func (h *Hold) isLeft(at Address, file *os.File) (bool, error) {
	own, err := file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(holdPath(at))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(own, now), err
}

// End lets the clients continue to the destinations that exist by then. Where there are
// none, they are refused.
func (h *Hold) End(ctx context.Context) error {
	released := h.caught.Release()
	unlock, err := lock(ctx, h.handle.Waiting)
	if err != nil {
		return errors.Join(released, err)
	}
	defer unlock()
	left, err := h.Left()
	problems := []error{released, err, h.forget()}
	for _, at := range left {
		problems = append(problems, h.handle.removeEmpty(at))
	}
	return errors.Join(problems...)
}

// forget removes the files that are left. The lock must be held.
func (h *Hold) forget() error {
	var problems []error
	for at, file := range h.files {
		left, err := h.isLeft(at, file)
		if left {
			err = os.Remove(holdPath(at))
		}
		problems = append(problems, err, file.Close())
	}
	return errors.Join(problems...)
}

// isHeld reports whether clients of an address are kept waiting. The lock must be held.
func isHeld(at Address) (bool, error) {
	file, err := os.Open(holdPath(at))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up whether %s is held: %w", at, err)
	}
	defer file.Close()
	// A process that was killed leaves the file, but no lock.
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("look up whether %s is held: %w", at, err)
	}
	return err != nil, nil
}

// holdsOf reports whether clients of any port of an IP address are kept waiting. The lock
// must be held.
func holdsOf(addr netip.Addr) (bool, error) {
	files, err := os.ReadDir(HoldFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look up whether %s is held: %w", addr, err)
	}
	for _, file := range files {
		at, err := addressOf(file.Name())
		if err != nil || at.Addr() != addr {
			continue
		}
		if held, err := isHeld(at); err != nil || held {
			return held, err
		}
	}
	return false, nil
}

// endHold lets clients of an address continue, if they are kept waiting. The lock must be
// held.
func endHold(at Address) error {
	if err := os.Remove(holdPath(at)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end the hold of %s: %w", at, err)
	}
	return nil
}
