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
	"runtime/debug"
	"strings"

	"service-manager/units"
	"service-manager/units/host"
	"service-manager/units/printable"
)

const help = `Usage: service-manager-generator NORMAL-DIR [EARLY-DIR LATE-DIR]
       service-manager-generator --dry-run [--root DIR]

Writes a manager unit for every service in /etc/service-manager/revisions and a
runner unit for each of its revisions that matters. systemd runs it as a
generator, at boot and at every daemon-reload; see systemd.generator(7).

Flags:
  --dry-run  print every unit to standard output with its path as a heading, and
             problems to standard error; exit 1 when there were any
  --root DIR read below DIR instead of / (for tests and images)
`

func main() {
	// A run lives for milliseconds and keeps next to nothing: a small heap costs less
	// than the memory that a large one touches.
	debug.SetGCPercent(50)
	os.Exit(run(os.Args[1:], printable.Lines(os.Stdout), os.Stderr, os.Getenv, openKernelLog))
}

// run is the whole program. kernelLog opens the place for problems when there is
// nobody at a terminal; systemd's journal does not run yet when generators do.
func run(args []string, stdout, stderr io.Writer, getenv func(string) string, kernelLog func() (io.WriteCloser, error)) int {
	flags := flag.NewFlagSet("service-manager-generator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dryRun := flags.Bool("dry-run", false, "")
	root := flags.String("root", "/", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return 0
	case err != nil:
		return usage(stderr, err.Error())
	}
	if *dryRun {
		if flags.NArg() != 0 {
			return usage(stderr, "--dry-run takes no folders")
		}
		return report(show(stdout, *root), stderr)
	}
	if n := flags.NArg(); n != 1 && n != 3 {
		return usage(stderr, fmt.Sprintf("one or three folders are needed (got %d)", n))
	}
	if getenv("SYSTEMD_IN_INITRD") == "1" {
		return 0 // services are those of the real root
	}
	if getenv("SYSTEMD_SCOPE") != "" { // systemd has run this, and shows nobody what it prints
		if log, err := kernelLog(); err == nil {
			defer log.Close()
			stderr = log
		}
	}
	return report(generate(flags.Arg(0), *root), stderr)
}

// show prints the units that generate would write.
func show(out io.Writer, root string) error {
	if _, err := os.Stat(root); err != nil {
		return err
	}
	h, err := host.Read(root)
	for _, file := range units.Render(h) {
		if file.Target != "" {
			fmt.Fprintf(out, "--- %s -> %s ---\n\n", file.Path, file.Target)
			continue
		}
		fmt.Fprintf(out, "--- %s ---\n%s\n", file.Path, file.Content)
	}
	return err
}

// report prints each line of err as a message of its own and returns the exit
// code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		// The kernel takes one write as one message, and the number as a priority. It
		// refuses one of more than 976 bytes.
		fmt.Fprintf(stderr, "%sservice-manager-generator: %s\n", priority(stderr), printable.Clean(line).Shorten(900))
	}
	return 1
}

func usage(stderr io.Writer, problem string) int {
	fmt.Fprintf(stderr, "service-manager-generator: %s\nTry 'service-manager-generator -h'.\n", problem)
	return 2
}
