package printable

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"plain, ä € 世 😀":                  "plain, ä € 世 😀",
		`a\b "c" 100 %`:                   `a\b "c" 100 %`,
		"a\nb\tc":                         "a b c",
		"x\rMAINPID=1":                    `x\rMAINPID=1`,
		"x\x00<0>kernel: y":               `x\x00<0>kernel: y`,
		"\x1b[2J\x1b]0;title\a":           `\x1b[2J\x1b]0;title\a`,
		"\x7f\u0085\u009b1m":              `\x7f\u0085\u009b1m`,
		"a\xffb\xc0\xaf\xe2\x82":          `a\xffb\xc0\xaf\xe2\x82`,
		"a\u2028b\u2029c":                 `a\u2028b\u2029c`,
		"\u202egnp.exe\u200b\ufeff\u00ad": `\u202egnp.exe\u200b\ufeff\u00ad`,
		"\ufffd\U000e0041\ue000":          "\ufffd" + `\U000e0041\ue000`,
	} {
		if got := Clean(text).String(); got != want {
			t.Errorf("Clean(%q) = %q; want %q", text, got, want)
		}
	}
	if got := Clean(strings.Repeat("ä", MaxLine)).String(); len(got) > MaxLine || !strings.HasSuffix(got, "ä…") || !utf8.ValidString(got) {
		t.Errorf("a long text has become %d bytes that end in %q", len(got), got[len(got)-5:])
	}
	if got := Sprintf("%s: %v", "a\n", errors.New("b\r")).String(); got != `a : b\r` {
		t.Errorf("Sprintf = %q", got)
	}
	if got := Clean("abcdefgh").Shorten(6).String(); got != "abc…" {
		t.Errorf("Shorten = %q", got)
	}
}

func TestWriters(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(Messages(&b), "<3>sm-x: %s\n", "a\n<0>kernel: \x1b[0mb\n")
	fmt.Fprint(Messages(&b), "no end")
	if got, want := b.String(), `<3>sm-x: a <0>kernel: \x1b[0mb `+"\nno end"; got != want {
		t.Errorf("Messages wrote %q; want %q", got, want)
	}
	b.Reset()
	n, err := fmt.Fprintf(Lines(&b), "a\tb\n%s\n", "c\r\xff")
	if got, want := b.String(), "a\tb\n"+`c\r\xff`+"\n"; got != want || n != 8 || err != nil {
		t.Errorf("Lines wrote %q and returned %d, %v; want %q", got, n, err, want)
	}
	if _, err := Lines(failing{}).Write([]byte("x")); err == nil {
		t.Error("an error of the writer below is lost")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// Whatever comes in, one line comes out that only shows.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"a", "\r\n\x00\x1b", "\xff\xfe", "\u2028", `\`, strings.Repeat("\x01", 5000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		check := func(got string) {
			if !utf8.ValidString(got) {
				t.Errorf("%q: %q is not valid UTF-8", text, got)
			}
			for _, r := range got {
				if !unicode.IsGraphic(r) {
					t.Errorf("%q: %q has %U", text, got, r)
				}
			}
		}
		got := Clean(text).String()
		check(got)
		if len(got) > MaxLine {
			t.Errorf("%q: %d bytes", text, len(got))
		}
		if again := Clean(got).String(); again != got {
			t.Errorf("%q becomes %q, and that %q", text, got, again)
		}
		var b bytes.Buffer
		Messages(&b).Write([]byte(text + "\n"))
		check(strings.TrimSuffix(b.String(), "\n"))
		b.Reset()
		Lines(&b).Write([]byte(text))
		check(strings.NewReplacer("\n", "", "\t", "").Replace(b.String()))
	})
}
