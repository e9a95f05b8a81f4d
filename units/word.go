package units

import (
	"fmt"
	"strings"
)

// word is one word of a command line in which $ and % have their meaning to
// systemd: ${NAME} is a variable, $$ a dollar sign, %n a specifier, %% a percent
// sign. Words are quoted when they are joined to a line.
type word string

var escapes = strings.NewReplacer("%", "%%", "$", "$$")

// literal returns a word that means s and nothing else.
func literal(s string) word { return word(escapes.Replace(s)) }

// commandLine joins words to the value of an Exec… setting.
func commandLine(words []word) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(string(w))
	}
	return strings.Join(quoted, " ")
}

const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@%${}[]"

// quote returns s as systemd reads it back as one word. Inside double quotes it
// knows the escapes of C; unquoted, a line break would end the setting, and a
// lone semicolon the command.
func quote(s string) string {
	if s != "" && strings.Trim(s, bare) == "" {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// specifierFree returns s for a setting in which systemd knows specifiers but no
// quotes.
func specifierFree(s string) string { return strings.ReplaceAll(s, "%", "%%") }
