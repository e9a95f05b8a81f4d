// Package version says which version of service-manager a program is.
package version

import (
	"fmt"
	"runtime"
)

// Both are set by the linker: see build in install.sh.
var text, commit = "unknown", "unknown commit"

// Of returns the line that a program prints for --version.
func Of(program string) string {
	return fmt.Sprintf("%s %s (%s, %s)\n", program, text, commit, runtime.Version())
}

// Asked reports whether a command line asks for the version, and for nothing else.
func Asked(args []string) bool {
	return len(args) == 1 && (args[0] == "--version" || args[0] == "-version")
}
