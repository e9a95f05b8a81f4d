package printable

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"service-manager/tests/lint"
)

// ways lists what text can leave a program by, and the files that may use it, since
// they clean what they write.
var ways = map[string][]string{
	"os.Stdout":              {"helpers/internal/command/command.go", "generator/main.go"},
	"os.Stderr":              {"helpers/internal/command/command.go", "generator/main.go"},
	"syscall.Stdout":         nil,
	"syscall.Stderr":         nil,
	"log.SetOutput":          {"helpers/internal/command/command.go"},
	"daemon.SdNotify":        {"helpers/internal/notify/notify.go"},
	"daemon.SdNotifyWithFDs": nil,
	"journal.Send":           nil,
	"journal.Print":          nil,
	`"/dev/kmsg"`:            {"generator/kernellog.go"},
	`"/dev/stdout"`:          nil,
	`"/dev/stderr"`:          nil,
	`"/dev/tty"`:             nil,
	`"/dev/console"`:         nil,
	`"NOTIFY_SOCKET"`:        {"helpers/internal/notify/notify.go"},
	`"unixgram"`:             nil,
	"print":                  nil,
	"println":                nil,
}

// packages that write to standard output or error on their own: fmt.Print and
// friends, and what the standard library has for logs.
var printers = map[string][]string{
	"fmt":  {"Print", "Printf", "Println"},
	"log":  {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "New", "Default", "Writer"},
	"slog": {"Debug", "Info", "Warn", "Error", "Log", "New", "Default"},
}

// No program writes text past this package.
func TestNothingBypasses(t *testing.T) {
	lint.Programs(t, "../..", func(name, path string) {
		for _, problem := range bypasses(t, name, path, nil) {
			t.Error(problem)
		}
	})
}

// The test above finds what it should find.
func TestBypassesAreFound(t *testing.T) {
	const source = `package x
import ("fmt"; "os"; l "log"; "net"; "github.com/coreos/go-systemd/v22/daemon")
func f(bad string) {
	fmt.Fprintln(os.Stderr, bad)
	fmt.Println(bad)
	l.Print(bad)
	println(bad)
	daemon.SdNotify(false, "STATUS=" + bad)
	net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	os.WriteFile("/dev/kmsg", []byte(bad), 0)
	fmt.Sprint(bad)
}`
	got := bypasses(t, "helpers/x/x.go", "x.go", source)
	if len(got) != 8 {
		t.Errorf("found %d bypasses; want 8:\n%s", len(got), strings.Join(got, "\n"))
	}
}

// bypasses returns what a Go file does that only this package should do.
func bypasses(t *testing.T, name, path string, source any) []string {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	packages := make(map[string]string) // by their names in this file
	for _, i := range file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		base := path[strings.LastIndex(path, "/")+1:]
		packages[base] = base
		if i.Name != nil {
			packages[i.Name.Name] = base
		}
	}
	var found []string
	bad := func(node ast.Node, what string) {
		if !slices.Contains(ways[what], name) {
			found = append(found, set.Position(node.Pos()).String()+": "+what+": text must leave by package printable")
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && packages[x.Name] != "" {
				what := packages[x.Name] + "." + n.Sel.Name
				if _, is := ways[what]; is || slices.Contains(printers[packages[x.Name]], n.Sel.Name) {
					bad(n, what)
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
				bad(n, f.Name)
			}
		case *ast.BasicLit:
			if _, is := ways[n.Value]; is {
				bad(n, n.Value)
			}
		}
		return true
	})
	return found
}
