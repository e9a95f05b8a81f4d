// Package printable makes text that others wrote fit to be shown. Error texts of
// servers, names in certificates, output of containers and names of files may hold
// what a terminal obeys, what the journal or systemd takes for the end of a line
// or message, and what is no text at all.
//
// Everything that programs say leaves them through this package: by a Writer, or
// as a Line in a message to systemd and in a record.
package printable

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLine is how many bytes a Line has at most. systemd drops a notification of
// more than 4 KiB, in which each backslash takes two.
const MaxLine = 2000

// Line is one line of text that does nothing but show: valid UTF-8 without control
// and formatting characters, and not longer than MaxLine. Only this package makes
// one.
type Line struct{ text string }

func (l Line) String() string { return l.text }

// Clean returns text as a Line. Line breaks and tabs become spaces; everything else
// that does not show is written as Go escapes it, such as \x1b.
func Clean(text string) Line { return Line{shorten(clean(text, false), MaxLine)} }

// Sprintf formats as package fmt does, and cleans the result.
func Sprintf(format string, args ...any) Line { return Clean(fmt.Sprintf(format, args...)) }

// Shorten returns the line cut to that many bytes.
func (l Line) Shorten(most int) Line { return Line{shorten(l.text, most)} }

const ellipsis = "…"

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := max(0, most-len(ellipsis))
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}

// clean replaces what does not show. Whether line breaks and tabs stay as they
// are is up to the caller.
func clean(text string, keepLines bool) string {
	at := firstBad(text, keepLines)
	if at < 0 {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	b.WriteString(text[:at])
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		switch {
		case r == '\n' || r == '\t':
			if keepLines {
				b.WriteRune(r)
			} else {
				b.WriteByte(' ')
			}
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[at])
		case unicode.IsGraphic(r):
			b.WriteString(text[at : at+size])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		at += size
	}
	return b.String()
}

// firstBad returns where the first byte is that clean would replace, -1 when there
// is none.
func firstBad(text string, keepLines bool) int {
	for i, r := range text {
		switch {
		case r >= ' ' && r < 0x7f:
		case keepLines && (r == '\n' || r == '\t'):
		case r == utf8.RuneError || !unicode.IsGraphic(r):
			return i
		}
	}
	return -1
}

// Lines returns a Writer for text of several lines, such as help and tables.
func Lines(out io.Writer) io.Writer { return &writer{out: out, lines: true} }

// Messages returns a Writer each of whose writes is one message on one line: a line
// break anywhere but at its end becomes a space.
func Messages(out io.Writer) io.Writer { return &writer{out: out} }

type writer struct {
	out   io.Writer
	lines bool
}

func (w *writer) Write(p []byte) (int, error) {
	text, end := p, ""
	if !w.lines && bytes.HasSuffix(p, []byte("\n")) {
		text, end = p[:len(p)-1], "\n"
	}
	cleaned := clean(string(text), w.lines)
	if !w.lines {
		cleaned = shorten(cleaned, 4*MaxLine)
	}
	// One write: the journal takes it as a whole.
	if _, err := io.WriteString(w.out, cleaned+end); err != nil {
		return 0, err
	}
	return len(p), nil
}
