// Package lint finds the sources that the rules of this repository hold for.
package lint

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Programs calls visit for each source file of the programs and of what they are made
// of, without tests. root is the repository, and name the file's path in it.
func Programs(t testing.TB, root string, visit func(name, path string)) {
	t.Helper()
	files := 0
	for _, dir := range []string{"generator", "helpers", "units"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.Name() == "testdata" {
				return fs.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			files++
			name, err := filepath.Rel(root, path)
			visit(filepath.ToSlash(name), path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 50 {
		t.Errorf("looked at %d files only", files)
	}
}
