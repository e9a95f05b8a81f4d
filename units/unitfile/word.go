package unitfile

import (
	"bytes"
	"fmt"
	"strings"
)

// Word is one word of a command line in which $ and % have their meaning to
// systemd: ${NAME} is a variable, $$ a dollar sign, %n a specifier, %% a percent
// sign. Words are quoted when they are written.
type Word string

var escapes = strings.NewReplacer("%", "%%", "$", "$$")

// Literal returns a word that means s and nothing else.
func Literal(s string) Word { return Word(escapes.Replace(s)) }

// bare reports whether w needs no quotes.
func (w Word) bare() bool {
	for i := range len(w) {
		c := w[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte("_-./:,=+@%${}[]", c) < 0 {
			return false
		}
	}
	return w != ""
}

// writeQuoted writes w as systemd reads it back as one word. Inside double quotes
// it knows the escapes of C; unquoted, a line break would end the setting, and a
// lone semicolon the command.
func (w Word) writeQuoted(b *bytes.Buffer) {
	if w.bare() {
		b.WriteString(string(w))
		return
	}
	b.WriteByte('"')
	for _, r := range string(w) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// SpecifierFree returns s for a setting in which systemd knows specifiers but no
// quotes.
func SpecifierFree(s string) string { return strings.ReplaceAll(s, "%", "%%") }
