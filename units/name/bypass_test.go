package name

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"

	"service-manager/tests/lint"
)

// No program makes a name from text without parsing it. (JSON does, where sm-fetch reads
// what it has written itself; it parses those names then.)
func TestNothingBypasses(t *testing.T) {
	lint.Programs(t, "../..", func(name, path string) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, conversion := range conversions(file) {
			t.Errorf("%s: %s makes a name of an unchecked text; use name.Parse…", name, conversion)
		}
	})
}

// conversions returns the conversions to types of this package in a file.
func conversions(file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		to, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := to.X.(*ast.Ident); ok && pkg.Name == "name" && slices.Contains([]string{"Service", "Rev"}, to.Sel.Name) {
			found = append(found, "name."+to.Sel.Name+"(…)")
		}
		return true
	})
	return found
}

// The test above finds what it should find.
func TestConversionsAreFound(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
func f(s string) { g(name.Service(s)); _ = []name.Rev{name.Rev(s)}; name.ParseRev(s) }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := conversions(file); len(found) != 2 {
		t.Errorf("found %q, want two", found)
	}
}
