package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"service-manager/units/nearest"
)

// ErrHelp is returned by Parse after it has printed the help that was asked for.
var ErrHelp = &ExitError{Code: 0}

// Flags is a flag set whose help is a text written by hand followed by the
// flags' own descriptions.
type Flags struct {
	*flag.FlagSet
	help string
}

// NewFlags returns an empty flag set. help is printed by -h: a usage line, what
// the command does and an example; the flags are listed behind it.
func NewFlags(name, help string) *Flags {
	f := &Flags{flag.NewFlagSet(name, flag.ContinueOnError), strings.TrimSpace(help)}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// Duration defines a flag for a duration of time, such as 30s.
func (f *Flags) Duration(name string, value time.Duration, usage string) *time.Duration {
	d := duration(value)
	f.Var(&d, name, usage)
	return (*time.Duration)(&d)
}

// duration is a flag whose error says what is expected.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }
func (d *duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("must be a duration with a unit, such as 30s or 1m30s")
	}
	*d = duration(parsed)
	return nil
}

// Parse parses args. It returns ErrHelp after printing the help to standard
// output, and a UsageError for anything it does not understand.
func (f *Flags) Parse(w World, args []string) error {
	err := f.FlagSet.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		f.printHelp(w.Stdout)
		return ErrHelp
	}
	if err != nil {
		return &UsageError{Err: f.plain(err)}
	}
	return nil
}

// plain rewords what package flag says about a command line.
func (f *Flags) plain(err error) error {
	text := err.Error()
	if given, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var known []string
		f.VisitAll(func(fl *flag.Flag) { known = append(known, fl.Name) })
		if meant := nearest.To(given, known); meant != "" {
			return fmt.Errorf("--%s is not a flag; did you mean --%s?", given, meant)
		}
		return fmt.Errorf("--%s is not a flag", given)
	}
	for _, form := range flagErrors {
		if m := form.is.FindStringSubmatch(text); m != nil {
			return errors.New(form.is.ReplaceAllString(m[0], form.say))
		}
	}
	return err
}

var flagErrors = []struct {
	is  *regexp.Regexp
	say string
}{
	{regexp.MustCompile(`(?s)^flag needs an argument: -(.*)$`), "--${1} needs a value"},
	{regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-(\S+): (.*)$`), "--${2}: ${3} (got ${1})"},
}

func (f *Flags) printHelp(out io.Writer) {
	fmt.Fprintln(out, f.help)
	first := true
	f.VisitAll(func(fl *flag.Flag) {
		if first {
			fmt.Fprintln(out, "\nFlags:")
			first = false
		}
		operand, usage := flag.UnquoteUsage(fl)
		if operand != "" {
			operand = " " + strings.ToUpper(operand)
		}
		fmt.Fprintf(out, "  --%s%s\n      %s", fl.Name, operand, usage)
		if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" && fl.DefValue != "[]" {
			fmt.Fprintf(out, " (default %s)", fl.DefValue)
		}
		fmt.Fprintln(out)
	})
}

// Verbs runs the function that the first argument names. It prints help for -h, and lists
// the verbs when that argument is missing or unknown.
func Verbs(w World, help string, verbs map[string]func(World) error) error {
	if len(w.Args) == 0 {
		return Usagef("a command is missing: one of %s", names(verbs))
	}
	switch verb := w.Args[0]; verb {
	case "-h", "-help", "--help", "help":
		fmt.Fprintf(w.Stdout, "%s\n\nEach command explains itself with -h. --version prints the version.\n", strings.TrimSpace(help))
		return ErrHelp
	default:
		run, ok := verbs[verb]
		if !ok {
			if meant := nearest.To(verb, slices.Sorted(maps.Keys(verbs))); meant != "" {
				return Usagef("unknown command %q; did you mean %q?", verb, meant)
			}
			return Usagef("unknown command %q: one of %s", verb, names(verbs))
		}
		w.Args = w.Args[1:]
		err := run(w)
		var usage *UsageError
		if errors.As(err, &usage) {
			usage.verb = verb
		}
		return err
	}
}

func names(verbs map[string]func(World) error) string {
	return strings.Join(slices.Sorted(maps.Keys(verbs)), ", ")
}

// Strings is a flag that may be given several times.
type Strings []string

func (s *Strings) String() string     { return fmt.Sprint([]string(*s)) }
func (s *Strings) Set(v string) error { *s = append(*s, v); return nil }
