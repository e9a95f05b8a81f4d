package apply

import (
	"path/filepath"
	"reflect"
	"testing"

	"service-manager/units/host"
	"service-manager/units/revision"
)

// What was validated is what everyone else in the process gets: an edit is parsed once.
func TestParsesOnce(t *testing.T) {
	a := newApplier(t)
	root := t.TempDir()
	a.Revisions.Root = filepath.Join(root, revision.Root)
	a.Revisions.Run = filepath.Join(root, revision.Run)
	a.must(t, file(first))
	d, _, document, err := a.validate(file(second))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.take(d, document); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Revisions.Read(d.Revision); got != d {
		t.Errorf("Read: another parse: %+v, %v", got, err)
	}
	h, err := host.Read(root, a.Revisions.Known)
	if err != nil || h.Services[0].State.Definition(d.Rev) != d {
		t.Errorf("host.Read: another parse: %+v, %v", h, err)
	}
	// It is what the generator, which is another process, makes of the file.
	if parsed, err := (revision.Store{Root: a.Revisions.Root}).Read(d.Revision); err != nil || !reflect.DeepEqual(parsed, d) {
		t.Errorf("the generator reads %+v, %v; want %+v", parsed, err, d)
	}
}
