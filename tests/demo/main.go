// Command demo shows service-manager at work, in a virtual machine that it makes
// and ends: an installation, a service, a new revision under load, and a broken
// one. Run it as ./install.sh --demo.
//
// Every line after a "$" is a command that runs in the machine as it is printed,
// and what follows it is what it said, shortened. Every figure comes from the
// machine: from the client that sends the requests (tests/load), the journal,
// systemd, Docker, and the files of service-manager.
//
//	steps.go     what is shown, in which order
//	stage.go     the machine, and what the steps do in it
//	load.go      the load client in the machine
//	timeline.go  when what happened in a rollout
//	lanes.go     the same, drawn
//	summary.go   what it comes to
//	image.go     makes the machine, and tells of the parts that it is made from
//	page.go      how it is printed
//	text.go      how text is shortened for a page
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: demo [--keep]

Shows service-manager in a disposable virtual machine. The folder that it runs in
is the repository. Exit status: 0 when no request was lost and the broken
revision was rejected, 1 when not, 2 for wrong usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	keep := flags.Bool("keep", false, "leave the virtual machine up, and say how to enter it")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	p := newPage(stdout, getenv)
	s := &stage{page: p, keep: *keep}
	err := s.play(ctx, steps)
	if ctx.Err() != nil {
		s.keep, err = false, errors.New("interrupted; the virtual machine has ended")
	}
	// A kept machine stays up after a failure too: there is something to look at.
	err = errors.Join(err, s.leave())
	p.endLive("")
	if err != nil {
		fmt.Fprintf(stderr, "demo: %s\n", oneLine(err))
		return 1
	}
	return 0
}
