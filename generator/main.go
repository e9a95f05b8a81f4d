// The service-manager-generator turns the revisions of services on disk into
// systemd units. systemd runs it at boot and at every daemon-reload, when there
// may be no network, no Docker and no /var, and gives it a folder to write to.
//
// By hand, service-manager-generator --dry-run prints what it would write.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"service-manager/units"
	"service-manager/units/host"
	"service-manager/units/printable"
	"service-manager/units/version"
)

const help = `Usage: service-manager-generator NORMAL-DIR [EARLY-DIR LATE-DIR]
       service-manager-generator --dry-run [--root DIR]

Writes a manager unit for every service in /etc/service-manager/revisions and a
runner unit for its current revision, its good one and any that still runs.
systemd runs it as a generator, at boot and at every daemon-reload; see
systemd.generator(7).

Flags:
  --dry-run  print every unit to standard output with its path as a heading, and
             problems to standard error; exit 1 when there were any
  --root DIR read below DIR instead of / (for tests and images)
  --version  print the version
`

func main() {
	// A run lives for milliseconds and allocates some 20 KB a service: to collect garbage
	// costs more than it frees, except on the largest hosts.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	os.Exit(run(os.Args[1:], printable.Lines(os.Stdout), os.Stderr, os.Getenv, openKernelLog))
}

// run is the whole program. kernelLog opens the place for problems when there is no
// terminal; systemd's journal does not run yet when generators do.
func run(args []string, stdout, stderr io.Writer, getenv func(string) string, kernelLog func() (io.WriteCloser, error)) int {
	if version.Asked(args) {
		fmt.Fprint(stdout, version.Of("service-manager-generator"))
		return 0
	}
	flags := flag.NewFlagSet("service-manager-generator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dryRun := flags.Bool("dry-run", false, "")
	root := flags.String("root", "/", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return 0
	case err != nil:
		text := err.Error()
		if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
			text = "--" + name + " is not a flag"
		} else if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
			text = "--" + name + " needs a value"
		}
		return usage(stderr, text)
	}
	if *dryRun {
		if flags.NArg() != 0 {
			return usage(stderr, "--dry-run takes no folders")
		}
		return report(show(stdout, *root), problems{out: stderr})
	}
	if n := flags.NArg(); n != 1 && n != 3 {
		return usage(stderr, fmt.Sprintf("one or three folders are needed (got %d)", n))
	}
	if inInitrd(getenv, *root) {
		return 0 // services belong to the real root
	}
	out := problems{out: stderr}
	// systemd runs this, and discards what it prints. It always passes three folders, and
	// since release 251 also $SYSTEMD_SCOPE.
	if getenv("SYSTEMD_SCOPE") != "" || flags.NArg() == 3 {
		if log, err := kernelLog(); err == nil {
			defer log.Close()
			out = problems{out: log, kernel: true}
		}
	}
	return report(generate(flags.Arg(0), *root), out)
}

// inInitrd reports whether this is the initial RAM disk. Since release 251, systemd says
// so in the environment.
func inInitrd(getenv func(string) string, root string) bool {
	if says := getenv("SYSTEMD_IN_INITRD"); says != "" {
		return says == "1"
	}
	_, err := os.Lstat(filepath.Join(root, "etc/initrd-release"))
	return err == nil
}

// show prints the units that generate would write.
func show(out io.Writer, root string) error {
	if _, err := os.Stat(root); err != nil {
		return err
	}
	h, err := host.Read(root, nil)
	for _, file := range units.Render(h) {
		if file.Target != "" {
			fmt.Fprintf(out, "--- %s -> %s ---\n\n", file.Path, file.Target)
			continue
		}
		fmt.Fprintf(out, "--- %s ---\n%s\n", file.Path, file.Content)
	}
	return err
}

// problems is where problems are reported.
type problems struct {
	out    io.Writer
	kernel bool // it is the kernel's log
}

// maxProblems bounds how many problems go to the kernel's log at a time; that log is
// small.
const maxProblems = 100

// report prints each line of err as a message of its own and returns the exit code.
func report(err error, to problems) int {
	if err == nil {
		return 0
	}
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - maxProblems; to.kernel && more > 0 {
		lines = append(lines[:maxProblems], fmt.Sprintf("and %d more; run service-manager-generator --dry-run", more))
	}
	for _, line := range lines {
		message := "service-manager-generator: error: " + printable.Clean(line).String()
		if to.kernel {
			// The kernel takes each write as one message of at most 976 bytes, and the
			// number as its priority.
			message = "<3>" + printable.Clean(message).Shorten(900).String()
		}
		fmt.Fprintln(to.out, message)
	}
	return 1
}

func usage(stderr io.Writer, problem string) int {
	fmt.Fprintf(stderr, "service-manager-generator: error: %s\nservice-manager-generator: hint: run service-manager-generator -h\n", printable.Clean(problem))
	return 2
}
