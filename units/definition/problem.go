package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Invalid is the error for a definition that is not accepted. It has every
// problem, not only the first, up to a number that a person still reads.
type Invalid struct {
	Service, Revision string
	Problems          []Problem
	More              int // how many more problems there are
}

// maxProblems is how many problems of one definition are reported.
const maxProblems = 20

// Problem is one thing wrong with a definition.
type Problem struct {
	Path   string // of the field, like health_check.path; empty: the whole document
	Reason string
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Reason
	}
	return p.Path + ": " + p.Reason
}

// Lines returns one line for each problem, each complete in itself.
func (e *Invalid) Lines() []string {
	about := strings.TrimSpace(e.Service + " " + e.Revision)
	lines := make([]string, len(e.Problems), len(e.Problems)+1)
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("%s: %s", about, p)
	}
	switch {
	case e.More == 1:
		lines = append(lines, about+": and 1 more problem")
	case e.More > 1:
		lines = append(lines, fmt.Sprintf("%s: and %s more problems", about, thousands(e.More)))
	}
	return lines
}

// thousands returns a number as people write it: 130,901.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (e *Invalid) Error() string { return strings.Join(e.Lines(), "\n") }

// objectError returns the error for a value that should have been an object: that
// it must be one, or what is wrong with the one that it is.
func objectError(err error, must string, value json.RawMessage) error {
	if errors.Is(err, errNoObject) {
		return fmt.Errorf("%s%s", must, gotKind(value))
	}
	return err
}

// gotAt shows a value of that field in an error, or only its type where it may be
// secret.
func gotAt(path string, value json.RawMessage) string {
	for _, f := range fields {
		if f.secret && strings.HasPrefix(path, f.name) {
			return gotKind(value)
		}
	}
	return got(value)
}

// gotKind shows of what type a value is.
func gotKind(value json.RawMessage) string {
	if len(value) == 0 {
		return ""
	}
	switch value[0] {
	case '"':
		return " (got a string)"
	case '[':
		return " (got a list)"
	case '{':
		return " (got an object)"
	case 't', 'f', 'n':
		return fmt.Sprintf(" (got %s)", value)
	}
	return " (got a number)"
}

// got shows a value in an error, cut to a readable length. Of an object or list,
// which may have anything in it, it shows the type only.
func got(value any) string {
	text, err := json.Marshal(value)
	if raw, ok := value.(json.RawMessage); ok {
		if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
			return gotKind(raw)
		}
		text, err = raw, nil
	}
	if err != nil {
		return ""
	}
	const most = 60
	shown := strings.Join(strings.Fields(string(text)), " ")
	if len(shown) > most {
		cut := most
		for !utf8.RuneStart(shown[cut]) {
			cut--
		}
		shown = shown[:cut] + "…"
	}
	return fmt.Sprintf(" (got %s)", shown)
}

// printable shows a name from the document in a field's path. What follows a "="
// was meant to be a value, and is not shown.
func printable(name string) string {
	if before, _, assigned := strings.Cut(name, "="); assigned {
		return printable(before) + "=…"
	}
	if checkDescription(name) == nil && name != "" && len(name) <= 60 && !strings.ContainsAny(name, " :") {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(got(name), " (got "), ")")
}
