package definition

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Invalid is the error for a definition that is not accepted. It has every
// problem, not only the first.
type Invalid struct {
	Service, Revision string
	Problems          []Problem
	incomplete        bool
}

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
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("%s: %s", strings.TrimSpace(e.Service+" "+e.Revision), p)
	}
	return lines
}

// Is reports whether target is ErrIncomplete and the document ends too early.
func (e *Invalid) Is(target error) bool { return target == ErrIncomplete && e.incomplete }

func (e *Invalid) Error() string { return strings.Join(e.Lines(), "\n") }

// got shows a value in an error, cut to a readable length.
func got(value any) string {
	text, err := json.Marshal(value)
	if raw, ok := value.(json.RawMessage); ok {
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
