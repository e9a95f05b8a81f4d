// Package unitfile writes the unit files of systemd: sections, settings, and
// command lines whose words systemd reads back as they were meant. It knows the
// syntax of systemd.syntax(7) and systemd.service(5), and nothing of services.
package unitfile

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// Text is unit files in the making, one behind the other. The zero value is empty.
type Text struct {
	bytes.Buffer
	begin int // of the file in the making
}

// Cut ends a file and returns it. It is valid until the next Reset.
func (t *Text) Cut() []byte {
	file := t.Bytes()[t.begin:]
	t.begin = t.Len()
	return file[:len(file):len(file)]
}

// Reset makes t empty, and lets it use its memory again.
func (t *Text) Reset() {
	t.Buffer.Reset()
	t.begin = 0
}

// Comment adds a line that systemd passes over.
func (t *Text) Comment(comment string) { t.line("# " + comment) }

// Section begins a section.
func (t *Text) Section(name string) { t.line("[" + name + "]") }

// Blank adds an empty line.
func (t *Text) Blank() { t.line("") }

// Set adds a setting. Its value stands as it is: it may have no line break, and
// whether a percent sign begins a specifier is up to the setting.
func (t *Text) Set(key, value string) {
	t.WriteString(key)
	t.WriteByte('=')
	t.line(value)
}

// Command adds a setting whose value is a command line: a program and its arguments.
func (t *Text) Command(key string, words ...Word) { t.command(key, "=", words) }

// Attempt adds a command whose failure systemd ignores: otherwise those after it would
// not run.
func (t *Text) Attempt(key string, words ...Word) { t.command(key, "=-", words) }

func (t *Text) command(key, begin string, words []Word) {
	t.WriteString(key)
	t.WriteString(begin)
	for i, w := range words {
		if i > 0 {
			t.WriteByte(' ')
		}
		w.writeQuoted(&t.Buffer)
	}
	t.WriteByte('\n')
}

func (t *Text) line(line string) {
	t.WriteString(line)
	t.WriteByte('\n')
}

// Seconds returns a time span as systemd reads it, rounded up.
func Seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds()))) + "s"
}
