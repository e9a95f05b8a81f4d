// Command runner runs every check and test of the repository: formatting, vet,
// staticcheck, all Go tests with the race detector (unless -short), also those that talk to
// foreign servers (tag peer), then those in containers with a systemd of their own (tag
// native), then those that need the virtual machine (tag machine).
// It shows what it does meanwhile, and ends with the line
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

	"service-manager/tests/harness"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tests/run", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	short := flags.Bool("short", false, "leave out the tests that take minutes and the race detector, and run each test on one Debian release")
	long := flags.Bool("long", false, "run the tests that take many minutes, too, and all on each Debian release")
	host := flags.Bool("host", false, "leave out the tests that need a machine, virtual or native")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err == nil && flags.NArg() > 1:
		err = fmt.Errorf("must be one regular expression (got %q)", flags.Args())
	case err == nil && *short && *long:
		err = errors.New("-short and -long exclude each other")
	}
	if err != nil {
		fmt.Fprintf(stderr, "tests/run: error: %v\ntests/run: hint: usage: tests/run [-short | -long] [-host] [REGEXP]\n", err)
		return 2
	}
	s := newSummary(stdout)
	stop := s.heartbeat(silence)
	only := flags.Arg(0)
	if only == "" {
		s.part("static checks", staticChecks)
	}
	var extra []string
	if only != "" {
		extra = append(extra, "-run", only)
	}
	if *short {
		extra = append(extra, "-short")
		s.tests(part{"tests without a machine", false, append([]string{"-tags", "peer", "-timeout", "10m"}, extra...), "./..."})
	} else {
		s.tests(part{"race tests", false, append([]string{"-race", "-tags", "peer", "-timeout", "10m"}, extra...), "./..."})
	}
	if *long {
		extra = append(extra, "-long") // which only the tests with machines know
	}
	if !*host {
		if err := harness.NativeProblem(); err != nil {
			s.skip("native tests", err.Error())
		} else {
			s.tests(part{"native tests", true, append([]string{"-tags", "native", "-count", "1", "-timeout", "2h", "-parallel", parallel}, extra...), "./tests/native"})
		}
		s.tests(part{"machine tests", true, append([]string{"-tags", "machine", "-count", "1", "-timeout", "6h"}, extra...), "./tests"})
	}
	stop()
	return s.finish()
}

// parallel is how many native machines run at once. Their tests mostly wait.
const parallel = "4"

// silence is how long nothing may be said.
const silence = 20 * time.Second

// staticcheck is run from Go's module proxy: it is no dependency of the product.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.7.0"

func staticChecks(s *summary) {
	const all = "machine,peer,native,ipvs_file"
	s.check("gofmt", unformatted)
	s.check("go vet", func() (string, error) { return output("go", "vet", "./...") })
	s.check("go vet, tests of machines and of foreign servers", func() (string, error) {
		return output("go", "vet", "-tags", all, "./...")
	})
	if out, err := output("go", "run", staticcheck, "-version"); err != nil {
		s.skip("staticcheck", "it cannot be had: "+lastLine(out))
		return
	}
	s.check("staticcheck", func() (string, error) { return output("go", "run", staticcheck, "./...") })
	s.check("staticcheck, tests of machines and of foreign servers", func() (string, error) {
		return output("go", "run", staticcheck, "-tags", all, "./...")
	})
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// A part is a run of go test.
type part struct {
	name     string
	verbose  bool // what the tests log is shown as it comes
	args     []string
	packages string
}

// tests runs a part, and what failed in it again.
func (s *summary) tests(p part) {
	s.part(p.name, func(s *summary) {
		s.goTest(p.name, p.verbose, p.args, p.packages, 0)
		s.retry(p)
	})
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

// goTest runs go test and counts its events. With a limit it is ended then.
func (s *summary) goTest(what string, verbose bool, args []string, packages string, limit time.Duration) {
	cmd := exec.Command("go", append([]string{"test", "-json", packages}, args...)...) // a flag of the tests themselves comes last
	// The tests, and the machines that they started, end with this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(interrupt)
	reader, writer, err := os.Pipe()
	if err != nil {
		s.failed(what, err.Error())
		return
	}
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	writer.Close()
	if err != nil {
		s.failed(what, err.Error())
		return
	}
	before := s.failures()
	ended := make(chan struct{})
	go func() {
		var over <-chan time.Time
		if limit > 0 {
			over = time.After(limit)
		}
		select {
		case <-interrupt: // the tests clean up, and are waited for
			s.interrupted.Store(true)
			s.failed("interrupted", "")
		case <-over:
			s.failed(what, fmt.Sprintf("it did not end within %s", limit))
		case <-ended:
			return
		}
		cmd.Process.Signal(syscall.SIGTERM)
		// Whatever has the pipe open must not keep it so for ever.
		select {
		case <-ended:
		case <-time.After(s.patience):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			reader.Close()
		}
	}()
	s.read(reader, verbose)
	close(ended)
	// Whatever went wrong without an event of its own must not pass.
	if err := cmd.Wait(); err != nil && s.failures() == before {
		s.failed(what, err.Error())
	}
}
