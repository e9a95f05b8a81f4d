package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A note says what was made of a destination, until it is removed, for two reasons.
//
// Docker gives the address of a container that has ended to the next one, at once.
// The unit of the first may still be about to take its destination out, which is
// the destination of the second by then. So the note says whose it is.
//
// Anybody may empty the kernel's table, with ipvsadm -C say. So the note says what
// to put back.
type note struct {
	owner     string // the id of the container, or empty when it was not given
	scheduler string // of the virtual service; empty in notes of older versions
	weight    int
	namespace string // the network namespace; each has a table of its own
}

// noteFolder has a file for each destination.
const noteFolder = runFolder + "/ipvs"

func notePath(at Address, to netip.AddrPort) string {
	return filepath.Join(noteFolder, strings.ReplaceAll(at.String(), "/", "-")+"_"+to.String())
}

// notePlace is the other way around: what the note of that file name is about.
func notePlace(name string) (at Address, to netip.AddrPort, err error) {
	first, second, _ := strings.Cut(name, "_")
	if at, err = ParseAddress(strings.Replace(first, "-", "/", 1)); err != nil {
		return at, to, err
	}
	to, err = ParseDestination(second)
	return at, to, err
}

// write makes n the note about a destination. The lock must be held.
func (n note) write(at Address, to netip.AddrPort) error {
	err := os.MkdirAll(noteFolder, 0o755)
	if err == nil {
		err = os.WriteFile(notePath(at, to), fmt.Appendf(nil, "%s\n%s %d %s\n", n.owner, n.scheduler, n.weight, n.namespace), 0o644)
	}
	if err != nil {
		return fmt.Errorf("note what %s at %s is: %w", to, at, err)
	}
	return nil
}

// noteScheduler makes scheduler that of every note about the virtual service at an
// address. The lock must be held.
func noteScheduler(at Address, scheduler string) error {
	entries, err := os.ReadDir(noteFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the scheduler of %s: %w", at, err)
	}
	for _, entry := range entries {
		place, to, err := notePlace(entry.Name())
		if err != nil || place != at {
			continue
		}
		n, found, err := readNote(at, to)
		if err != nil {
			return err
		}
		if found && n.scheduler != scheduler {
			n.scheduler = scheduler
			if err := n.write(at, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// readNote returns the note about a destination, and false when there is none. The
// lock must be held.
func readNote(at Address, to netip.AddrPort) (n note, found bool, err error) {
	text, err := os.ReadFile(notePath(at, to))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	if err != nil {
		return n, false, fmt.Errorf("look up what %s at %s is: %w", to, at, err)
	}
	owner, rest, _ := strings.Cut(string(text), "\n")
	n.owner = owner
	if fields := strings.Split(strings.TrimSuffix(rest, "\n"), " "); len(fields) == 3 {
		n.scheduler, n.namespace = fields[0], fields[2]
		if n.weight, err = strconv.Atoi(fields[1]); err != nil {
			return n, false, fmt.Errorf("look up what %s at %s is: %s: weight: %w", to, at, notePath(at, to), err)
		}
	}
	return n, true, nil
}

// namespace names the network namespace of the calling thread, which is that of a
// helper as a whole.
func namespace() (string, error) {
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return "", fmt.Errorf("find the network namespace: %w", err)
	}
	return name, nil
}

// Noted reports whether any destination has a note.
func Noted() (bool, error) {
	entries, err := os.ReadDir(noteFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look up what destinations there were: %w", err)
	}
	return len(entries) > 0, nil
}

// Forget is Remove on a kernel without IPVS: nothing puts the destination back when
// it has IPVS again.
func Forget(ctx context.Context, at Address, to netip.AddrPort, owner string) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	n, found, err := readNote(at, to)
	if err != nil || !found || n.ofAnother(owner) {
		return err
	}
	return forget(at, to)
}

// forget deletes the note about a destination. The lock must be held.
func forget(at Address, to netip.AddrPort) error {
	err := os.Remove(notePath(at, to))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what %s at %s is: %w", to, at, err)
	}
	return nil
}

// ofAnother reports whether it is known that the destination belongs to another
// owner. One without a name is refused nothing, and a destination without an owner
// is refused to none.
func (n note) ofAnother(owner string) bool {
	return owner != "" && n.owner != "" && n.owner != owner
}
