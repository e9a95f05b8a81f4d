// Command runner runs every check and test of the repository: formatting, vet,
// all Go tests with the race detector, also those that talk to foreign servers
// (tag peer), then those that need the virtual machine (tag machine).
// It shows what goes on while it does, and ends with the line
// "N passed, N failed", which counts checks, tests and subtests.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tests/run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	short := flags.Bool("short", false, "leave out the tests of the machine that take minutes, and all but one Debian release")
	host := flags.Bool("host", false, "leave out the tests that need the virtual machine")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil, flags.NArg() > 1:
		fmt.Fprintln(stderr, "usage: tests/run [-short] [-host] [REGEXP]")
		return 2
	}
	s := newSummary(stdout)
	stop := s.heartbeat(20 * time.Second)
	only := flags.Arg(0)
	if only == "" {
		s.check("gofmt", unformatted)
		s.check("go vet", func() (string, error) { return output("go", "vet", "./...") })
		s.check("go vet, tests of the machine and of foreign servers", func() (string, error) {
			return output("go", "vet", "-tags", "machine,peer", "./...")
		})
	}
	var extra []string
	if only != "" {
		extra = append(extra, "-run", only)
	}
	if *short {
		extra = append(extra, "-short")
	}
	s.test("all tests, with the race detector", false, append([]string{"-race", "-tags", "peer", "-timeout", "10m"}, extra...), "./...")
	if !*host && !s.interrupted {
		s.test("machine tests", true, append([]string{"-tags", "machine", "-count", "1", "-timeout", "2h"}, extra...), "./tests")
	}
	stop()
	return s.finish()
}

// output runs a command, and returns what it printed when it failed.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

// unformatted returns the Go files that gofmt would change.
func unformatted() (string, error) {
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return root, err
	}
	out, err := output(filepath.Join(strings.TrimSpace(root), "bin", "gofmt"), "-l", ".")
	if err == nil && out != "" {
		err = errors.New("not formatted; run gofmt -w on these")
	}
	return out, err
}

// test runs go test and counts its events. With verbose, what the tests log is
// shown as it comes.
func (s *summary) test(what string, verbose bool, args []string, packages string) {
	s.say("== %s", what)
	cmd := exec.Command("go", append(append([]string{"test", "-json"}, args...), packages)...)
	// The tests, and the machines that they started, end with this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(interrupt)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		s.failed(what, err.Error())
		return
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		s.failed(what, err.Error())
		return
	}
	before := s.failures()
	ended := make(chan struct{})
	go func() {
		select {
		case <-interrupt: // the tests clean up, and are waited for
			s.interrupted = true
			s.failed("interrupted", "")
			cmd.Process.Signal(syscall.SIGTERM)
		case <-ended:
		}
	}()
	s.read(pipe, verbose)
	close(ended)
	// Whatever went wrong without an event of its own must not pass.
	if err := cmd.Wait(); err != nil && s.failures() == before {
		s.failed(what, err.Error())
	}
}
