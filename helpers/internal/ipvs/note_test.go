package ipvs

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"service-manager/units/revision/atomicfile"
)

var (
	web       = Address{netip.MustParseAddrPort("172.17.0.1:7001"), TCP}
	container = netip.MustParseAddrPort("172.17.0.2:80")
)

// inFolder makes notes and the lock files of a folder of the test's own.
func inFolder(t *testing.T) {
	t.Helper()
	notes, lock := noteFolder, lockFile
	t.Cleanup(func() { noteFolder, lockFile = notes, lock })
	noteFolder, lockFile = filepath.Join(t.TempDir(), "ipvs"), filepath.Join(t.TempDir(), "lock")
}

// What cannot be written whole must not cost what was noted before, such as the owner.
func TestNotesAreReplacedWhole(t *testing.T) {
	inFolder(t)
	first := note{owner: "0123", scheduler: "rr", weight: 1, namespace: "net:[1]", assign: true}
	second := note{owner: "4567", scheduler: "wlc", weight: 20, namespace: "net:[1]", watch: true}
	if err := first.write(web, container); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(notePath(web, container))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := second.write(web, container); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(before); err != nil || string(text) != "0123\nrr 1 net:[1] assign\n" {
		t.Errorf("the former note was changed to %q, %v", text, err)
	}
	if n, found, err := readNote(web, container); err != nil || !found || n != second {
		t.Errorf("readNote = %+v, %t, %v; want %+v", n, found, err, second)
	}
	// A helper that is killed leaves an unfinished one.
	if err := os.WriteFile(filepath.Join(noteFolder, atomicfile.TempPrefix+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if places, err := noted(); err != nil || len(places) != 1 || places[0] != (Place{web, container}) {
		t.Errorf("noted = %v, %v; want one", places, err)
	}
}
