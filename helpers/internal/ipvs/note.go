package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"service-manager/units/revision/atomicfile"
)

// A note records what was made of a destination until it is removed, for two reasons.
//
// Docker gives the address of a container that has ended to the next one, at once. The
// unit of the first may still be about to remove its destination, which by then is the
// destination of the second. So the note says whose it is.
//
// Anyone may empty the kernel's table, for example with ipvsadm -C. So the note says what
// to put back.
type note struct {
	owner     string // the id of the container, or empty when it was not given
	scheduler string // of the virtual service; empty in notes of older versions
	weight    int
	namespace string // the network namespace; each has a table of its own
	assign    bool   // whether the address was to be added to the host
	watch     bool   // whether Answered is to know about its connections
}

// NoteFolder has a file for each destination.
const NoteFolder = runFolder + "/ipvs"

// noteFolder is NoteFolder, except in tests.
var noteFolder = NoteFolder

func notePath(at Address, to netip.AddrPort) string {
	return filepath.Join(noteFolder, at.fileName()+"_"+to.String())
}

// Place is where a destination is: at the address of a virtual service.
type Place struct {
	Address     Address
	Destination netip.AddrPort
}

// noted returns what there are notes about, in the order of their file names.
func noted() ([]Place, error) {
	entries, err := os.ReadDir(noteFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look up what destinations there were: %w", err)
	}
	var places []Place
	for _, entry := range entries {
		// A file that notePath would name otherwise is no note; it may be an unfinished one.
		first, second, _ := strings.Cut(entry.Name(), "_")
		at, err := addressOf(first)
		if err != nil {
			continue
		}
		if to, err := ParseDestination(second); err == nil {
			places = append(places, Place{at, to})
		}
	}
	return places, nil
}

// notesHere returns the notes of this network namespace about destinations at the given
// addresses, or at all when none is given, and their places in a fixed order. With an
// error it returns those that it could read. The lock must be held.
func notesHere(addresses ...Address) (about []Place, notes map[Place]note, err error) {
	places, err := noted()
	if err != nil {
		return nil, nil, err
	}
	here, err := namespace()
	if err != nil {
		return nil, nil, err
	}
	notes = make(map[Place]note)
	var problems []error
	for _, p := range places {
		if len(addresses) > 0 && !slices.Contains(addresses, p.Address) {
			continue
		}
		n, found, err := readNote(p.Address, p.Destination)
		if err != nil {
			problems = append(problems, err)
		} else if found && n.namespace == here {
			about, notes[p] = append(about, p), n
		}
	}
	return about, notes, errors.Join(problems...)
}

// write makes n the note about a destination. If it fails, the note stays as it was. The
// lock must be held.
func (n note) write(at Address, to netip.AddrPort) error {
	err := os.MkdirAll(noteFolder, 0o755)
	if err == nil {
		text := fmt.Appendf(nil, "%s\n%s %d %s", n.owner, n.scheduler, n.weight, n.namespace)
		if n.assign {
			text = append(text, " assign"...)
		}
		if n.watch {
			text = append(text, " watch"...)
		}
		err = atomicfile.Write(notePath(at, to), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the note of %s at %s: %w", to, at, err)
	}
	return nil
}

// quiesce sets the weight in the note about a destination to 0. It writes over the digits
// of a weight that is not 0: for that there is room even where no file can be written. The
// lock must be held.
func (n note) quiesce(at Address, to netip.AddrPort) error {
	file, err := os.OpenFile(notePath(at, to), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	zeros := strings.Repeat("0", len(strconv.Itoa(n.weight)))
	_, err = file.WriteAt([]byte(zeros), int64(len(n.owner+"\n"+n.scheduler+" ")))
	return errors.Join(err, file.Close())
}

// noteScheduler sets the scheduler in every note about the virtual service at an address.
// The lock must be held.
func noteScheduler(at Address, scheduler string) error {
	places, err := noted()
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.Address != at {
			continue
		}
		n, found, err := readNote(at, p.Destination)
		if err != nil {
			return err
		}
		if found && n.scheduler != scheduler {
			n.scheduler = scheduler
			if err := n.write(at, p.Destination); err != nil {
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
		return n, false, fmt.Errorf("read the note of %s at %s: %w", to, at, err)
	}
	owner, rest, _ := strings.Cut(string(text), "\n")
	n.owner = owner
	if fields := strings.Split(strings.TrimSuffix(rest, "\n"), " "); len(fields) >= 3 {
		n.scheduler, n.namespace = fields[0], fields[2]
		n.assign, n.watch = slices.Contains(fields[3:], "assign"), slices.Contains(fields[3:], "watch")
		if n.weight, err = strconv.Atoi(fields[1]); err != nil {
			return n, false, fmt.Errorf("read the note of %s at %s: %s: weight: %w", to, at, notePath(at, to), err)
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

// Watched reports whether Answered knows about the connections of a destination.
func (h *Handle) Watched(ctx context.Context, at Address, to netip.AddrPort) (bool, error) {
	unlock, err := lock(ctx, h.Waiting)
	if err != nil {
		return false, err
	}
	defer unlock()
	n, _, err := readNote(at, to)
	return n.watch, err
}

// Noted reports whether any destination has a note.
func Noted() (bool, error) {
	places, err := noted()
	return len(places) > 0, err
}

// Forget is Remove on a kernel without IPVS, so that nothing puts the destination back
// when IPVS returns.
func Forget(ctx context.Context, at Address, to netip.AddrPort, owner string, waiting func(holder string)) error {
	_, err := own(ctx, waiting, at, to, owner, func(note, bool) error { return forget(at, to) })
	return err
}

// own calls f under the lock, with the note about a destination, if there is one. It does
// not when the destination is known to belong to another owner: mine is false then.
func own(ctx context.Context, waiting func(holder string), at Address, to netip.AddrPort, owner string, f func(n note, found bool) error) (mine bool, err error) {
	unlock, err := lock(ctx, waiting)
	if err != nil {
		return false, err
	}
	defer unlock()
	n, found, err := readNote(at, to)
	if err != nil || n.ofAnother(owner) {
		return false, err
	}
	return true, f(n, found)
}

// forget deletes the note about a destination. The lock must be held.
func forget(at Address, to netip.AddrPort) error {
	err := os.Remove(notePath(at, to))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete the note of %s at %s: %w", to, at, err)
	}
	return nil
}

// ofAnother reports whether the destination is known to belong to another owner. A caller
// without a name is refused nothing, and a destination without an owner is refused to no
// one.
func (n note) ofAnother(owner string) bool {
	return owner != "" && n.owner != "" && n.owner != owner
}
