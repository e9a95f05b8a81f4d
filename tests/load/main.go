// Command load sends HTTP requests to one address for a limited time and reports,
// as JSON, how many were answered, by which revision, and how each lost one was
// lost. It runs in the test machine, beside the service that it measures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"service-manager/tests/load/traffic"
)

const usage = `usage: load [flags] http://ADDRESS:PORT/PATH

Sends requests until the time of --for is up, or SIGTERM, waits for those under
way, and writes a report. Exit status: 0 also when requests were lost, 1 when
there is no report, 2 for wrong usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := traffic.Options{}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.Float64Var(&o.ConnectionsPerSecond, "connections-per-second", 40, "`requests` a second with a new connection each")
	flags.IntVar(&o.KeepAlive, "keep-alive", 8, "`connections` that are kept and used again")
	flags.DurationVar(&o.KeepAlivePause, "keep-alive-pause", 100*time.Millisecond, "`pause` between two requests of a kept connection")
	flags.Float64Var(&o.SlowPerSecond, "slow", 0, "`requests` a second of /slow")
	flags.DurationVar(&o.SlowFor, "slow-for", 8*time.Second, "`time` that a request of /slow asks for")
	flags.BoolVar(&o.Post, "post", false, "send POST instead of GET, and none a second time")
	flags.BoolVar(&o.HalfClose, "half-close", false, "close connections of one request for writing behind it")
	flags.DurationVar(&o.For, "for", 10*time.Second, "`length` of the run, at most 30m")
	flags.DurationVar(&o.ConnectTimeout, "connect-timeout", 15*time.Second, "longest `wait` for a connection")
	flags.DurationVar(&o.AnswerTimeout, "answer-timeout", 30*time.Second, "longest `wait` for an answer")
	out := flags.String("out", "", "`file` for the report instead of standard output")
	begun := flags.String("begun", "", "`file` that is made at the first answer")
	progress := flags.Bool("progress", false, "print a line every second on standard error")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	o.URL = flags.Arg(0)
	if *progress {
		o.Progress = stderr
	}
	if *begun != "" {
		o.Begun = func() {
			if err := os.WriteFile(*begun, nil, 0o644); err != nil {
				fmt.Fprintf(stderr, "load: %v\n", err)
			}
		}
	}
	report, err := traffic.Run(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "load: %v\n", err)
		return 2
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err == nil && *out != "" {
		err = os.WriteFile(*out, append(text, '\n'), 0o644)
	} else if err == nil {
		_, err = fmt.Fprintf(stdout, "%s\n", text)
	}
	if err != nil {
		fmt.Fprintf(stderr, "load: %v\n", err)
		return 1
	}
	return 0
}
