package unitfile

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"service-manager/units/unitfile/unitfiletest"
)

func FuzzLiteral(f *testing.F) {
	for _, s := range []string{"", "plain", ";", "a b", "a\nExecStart=/bin/evil", `\`, `"`, "%n $HOME ${X} $$ %%", "\x01\x7f\r\t", "ä €", "#", "-x", "@a", `\x41`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Skip() // no definition holds these
		}
		var text Text
		text.Command("ExecStart", Literal(s), "between", Literal(s))
		line := strings.TrimSuffix(strings.TrimPrefix(text.String(), "ExecStart="), "\n")
		if got, err := unitfiletest.Words(line, nil); err != nil || !slices.Equal(got, []string{s, "between", s}) {
			t.Errorf("%q is written as %q, which systemd reads as %q, %v", s, line, got, err)
		}
	})
}

// What is read back is what systemd reads, or refused.
func TestWords(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string // nil: refused
	}{
		{"/bin/x", []string{"/bin/x"}},
		{`run "a b" "" c%n "\x41\t\"\\" %%n$$`, []string{"run", "a b", "", "cweb.service", "A\t\"\\", "%n$"}},
		{"", nil}, {"a  b", nil}, {"a ", nil}, {"a;b", nil}, {"a ; b", nil}, {"'a'", nil}, {`"a`, nil}, {`"a"b`, nil}, {`a"b"`, nil},
		{`"\q"`, nil}, {`"\`, nil}, {`"\xzz"`, nil}, {"a\nb", nil}, {"$HOME", nil}, {"${HOME}", nil}, {"%H", nil}, {"a%", nil}, {"a$", nil},
	} {
		got, err := unitfiletest.Words(test.line, map[byte]string{'n': "web.service"})
		if (err != nil) != (test.want == nil) || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v; want %q", test.line, got, err, test.want)
		}
	}
}
