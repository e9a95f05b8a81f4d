package unitfile

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// read reads one word back as systemd.syntax(7) and systemd.service(5) have it:
// quotes and C escapes first, then %% and $$. ok is false for anything that would
// not be one word with one meaning.
func read(s string) (word string, ok bool) {
	if strings.ContainsAny(s, "\n\r\x00") || s == ";" {
		return "", false
	}
	if strings.HasPrefix(s, `"`) {
		if s, ok = unquote(s[1:]); !ok {
			return "", false
		}
	} else if s == "" || strings.ContainsAny(s, " \t\"'\\;#") {
		return "", false
	}
	for _, mark := range []string{"%", "$"} {
		if strings.Count(strings.ReplaceAll(s, mark+mark, ""), mark) != 0 {
			return "", false
		}
		s = strings.ReplaceAll(s, mark+mark, mark)
	}
	return s, true
}

// unquote reads up to the closing quote, which must be the end.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			i++
			if i == len(s) {
				return "", false
			}
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '"', '\\':
				b.WriteByte(s[i])
			case 'x':
				n, err := strconv.ParseUint(s[i+1:min(i+3, len(s))], 16, 8)
				if err != nil {
					return "", false
				}
				b.WriteByte(byte(n))
				i += 2
			default:
				return "", false
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", false
}

func FuzzLiteral(f *testing.F) {
	for _, s := range []string{"", "plain", ";", "a b", "a\nExecStart=/bin/evil", `\`, `"`, "%n $HOME ${X} $$ %%", "\x01\x7f\r\t", "ä €", "#", "-x", "@a", `\x41`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Skip() // no definition holds these
		}
		var b bytes.Buffer
		Literal(s).writeQuoted(&b)
		if got, ok := read(b.String()); !ok || got != s {
			t.Errorf("%q is written as %q, which systemd reads as %q, %v", s, b.String(), got, ok)
		}
	})
}
