package folder

import (
	"os"
	"path/filepath"
	"testing"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/sourcetest"
)

func TestSource(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Backend {
		return &backend{t, filepath.Join(t.TempDir(), "services")}
	})
}

type backend struct {
	t    *testing.T
	path string
}

func (b *backend) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *backend) file(id string) string { return filepath.Join(b.path, id+suffix) }

func (b *backend) Create() { b.must(os.Mkdir(b.path, 0o700)) }
func (b *backend) Drop()   { b.must(os.RemoveAll(b.path)) }
func (b *backend) Put(id, document string) {
	b.must(os.WriteFile(b.file(id), []byte(document), 0o600))
}
func (b *backend) Delete(id string) { b.must(os.Remove(b.file(id))) }
func (b *backend) Open(report func(string)) source.Store {
	return Open(b.path, quick, report)
}
