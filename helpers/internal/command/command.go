// Package command is the frame that every helper runs in: it turns a function that takes
// its world as values into a process with conventional exit codes, one-line errors and a
// status that systemctl shows.
//
// All programs speak with one voice:
//
//	sm-ipvs: error: what failed, on which service and revision, why
//	sm-ipvs: hint: the command or the edit that mends it
//
// without a capital letter at the beginning or a full stop at the end. "warning:"
// introduces what is not right although nothing failed. A bad value is reported as "must
// be … (got …)", a flag is written --flag, an unknown name is followed by "did you mean",
// and a number by its noun: "1 packet", "2 packets". A service, or a revision of one, comes
// first, so that one grep finds all about it. The words are those of service-manager(7), one
// for each thing.
//
// The exit status is 0 for success, 1 for a failure, 2 for wrong usage, and 75 when the host
// lacks something for the moment, so that another try may succeed. --version prints one line:
// "sm-x 1.4.0 (commit, Go version)".
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/notify"
	"service-manager/units/printable"
	"service-manager/units/version"
)

// World is everything that a helper may touch outside its own memory, so that tests can
// run helpers in process. Each write to Stderr is one message on one line.
type World struct {
	Name   string   // of the program
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    func(string) (string, bool) // os.LookupEnv in a real process
	Notify notify.Notifier             // the service manager, when one listens
}

// Getenv returns the value of an environment variable, empty when it is unset.
func (w World) Getenv(name string) string {
	value, _ := w.Env(name)
	return value
}

// Main runs a helper as this process and exits with its code: 0 done, 1 failed, 2 wrong
// usage, TempFail when the host is lacking something for the moment, or what an ExitError
// or a SignalError says. The context ends at SIGTERM or SIGINT.
func Main(name string, run func(context.Context, World) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	w := World{
		Name:   name,
		Args:   os.Args[1:],
		Stdin:  os.Stdin,
		Stdout: printable.Lines(os.Stdout),
		Stderr: stderr(),
		Env:    os.LookupEnv,
		Notify: notify.FromEnvironment(),
	}
	log.SetOutput(w.Stderr) // for libraries that log
	w.Notify.Outlast(step)
	if version.Asked(w.Args) {
		fmt.Fprint(w.Stdout, version.Of(name))
		return
	}
	err := run(ctx, w)
	code := Report(name, w, err)
	stop()
	var killed *SignalError
	if errors.As(err, &killed) {
		die(killed.Signal)
	}
	os.Exit(code)
}

// step is how long a step of a unit takes that asks for no time of its own. The steps before
// it may have taken as long as all of the start or stop may.
const step = 30 * time.Second

// stderr returns the standard error of this process, for messages.
func stderr() io.Writer { return printable.Messages(os.Stderr) }

// Report prints err as one line and its hint as another, sends both as the unit's status,
// and returns the exit code that err stands for.
func Report(name string, w World, err error) int {
	if err == nil {
		return 0
	}
	var exit *ExitError
	if errors.As(err, &exit) && exit.Err == nil {
		return exit.Code
	}
	var killed *SignalError
	if errors.As(err, &killed) {
		return 128 + int(killed.Signal)
	}
	message := printable.Clean(err.Error())
	said, way := hint.Split(err)
	detail := ""
	var detailed *DetailedError
	if errors.As(err, &detailed) {
		detail = fmt.Sprintf(": %s", printable.Clean(detailed.Detail))
	}
	fmt.Fprintf(w.Stderr, "%s%s: error: %s%s\n", prefix(w, "<3>"), name, printable.Clean(said), detail)
	var usage *UsageError
	if errors.As(err, &usage) {
		way = fmt.Sprintf("run %s -h", strings.TrimSpace(name+" "+usage.verb))
	}
	if way != "" {
		sayHint(w, "<3>", name, way)
	}
	var quiet *QuietError
	if !errors.As(err, &quiet) {
		w.Notify.Status("%s", message)
	}
	switch {
	case usage != nil:
		return 2
	case exit != nil:
		return exit.Code
	case lacking(err):
		return TempFail
	}
	return 1
}

// TempFail is the exit status of a helper that failed because the host was lacking
// something for the moment, such as Docker or space on a disk; EX_TEMPFAIL of sysexits.h.
// Such failures are retried, and no revision is rejected for them.
const TempFail = 75

// HostError says that the host, or something around it, is lacking something for the
// moment.
type HostError struct{ Err error }

func (e *HostError) Error() string { return e.Err.Error() }
func (e *HostError) Unwrap() error { return e.Err }

// lacking reports whether err says that the host lacks something.
func lacking(err error) bool {
	wants := []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM}
	if slices.ContainsFunc(wants, func(want error) bool { return errors.Is(err, want) }) {
		return true
	}
	return errors.As(err, new(*HostError))
}

// Warning reports something that is not right although nothing has failed.
func (w World) Warning(format string, args ...any) {
	fmt.Fprintf(w.Stderr, "%s%s: warning: %s\n", prefix(w, "<4>"), w.Name, printable.Sprintf(format, args...))
}

// Warn reports something that is not right although nothing has failed, with its hint if
// it has one.
func (w World) Warn(err error) {
	said, way := hint.Split(err)
	w.Warning("%s", said)
	if way != "" {
		sayHint(w, "<4>", w.Name, way)
	}
}

// sayHint prints a hint with the priority of the line that it follows.
func sayHint(w World, priority, name, way string) {
	fmt.Fprintf(w.Stderr, "%s%s: hint: %s\n", prefix(w, priority), name, printable.Clean(way))
}

// prefix gives a line its priority when it goes to the journal.
func prefix(w World, priority string) string {
	if w.Getenv("JOURNAL_STREAM") != "" {
		return priority
	}
	return ""
}

// UsageError is a command line that cannot be understood: exit code 2.
type UsageError struct {
	Err  error
	verb string // the one whose help explains it, if it has got that far
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...)}
}

// ExitError ends the process with a given code. With a nil Err nothing is printed.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}
func (e *ExitError) Unwrap() error { return e.Err }

// DetailedError is printed with a detail that is kept out of the unit's status: every
// user of the host may read that, and records are made from it.
type DetailedError struct {
	Err    error
	Detail string
}

func (e *DetailedError) Error() string { return e.Err.Error() }
func (e *DetailedError) Unwrap() error { return e.Err }

// QuietError is printed but does not become the unit's status, because another
// process of the unit has already said what matters.
type QuietError struct{ Err error }

func (e *QuietError) Error() string { return e.Err.Error() }
func (e *QuietError) Unwrap() error { return e.Err }
