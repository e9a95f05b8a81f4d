package docker

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-cmp/cmp"
)

func TestLastWords(t *testing.T) {
	const at = "2026-11-22T15:56:38."
	for _, test := range []struct {
		name           string
		stdout, stderr string
		tty            bool
		want           string
	}{
		{name: "nothing", want: ""},
		{name: "one line", stdout: at + "1Z config not found\n", want: "config not found"},
		{name: "empty lines behind it", stdout: at + "1Z bad\n" + at + "2Z \n" + at + "3Z   \n", want: "bad"},
		{name: "no newline at the end", stderr: at + "1Z bad", want: "bad"},
		{name: "both in one moment", stdout: at + "102Z one\n", stderr: at + "101Z config not found\n", want: "config not found"},
		{name: "standard error long before", stdout: at + "9Z giving up\n", stderr: at + "1Z a warning\n", want: "giving up"},
		{name: "a terminal", tty: true, stdout: at + "1Z a\r\n" + at + "2Z b\r\n", want: "b"},
		{name: "a line without a time", stdout: "x\n" + at + "1Z y\nz\n", want: "y"},
	} {
		var logs bytes.Buffer
		if test.tty {
			logs.WriteString(test.stdout)
		} else {
			io.WriteString(stdcopy.NewStdWriter(&logs, stdcopy.Stdout), test.stdout)
			io.WriteString(stdcopy.NewStdWriter(&logs, stdcopy.Stderr), test.stderr)
		}
		o, err := readOutput(&logs, test.tty)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := o.LastWords(); got != test.want {
			t.Errorf("%s: last words %q; want %q", test.name, got, test.want)
		}
	}
}

func TestOutputOrder(t *testing.T) {
	var logs bytes.Buffer
	stdout, stderr := stdcopy.NewStdWriter(&logs, stdcopy.Stdout), stdcopy.NewStdWriter(&logs, stdcopy.Stderr)
	io.WriteString(stderr, "2026-11-22T15:56:38.2Z second\n")
	io.WriteString(stdout, "2026-11-22T15:56:38.1Z first\n2026-11-22T15:56:38.3Z third\n")
	logs.WriteString("\x07cut off")
	o, err := readOutput(&logs, false)
	if err == nil {
		t.Error("a stream with a broken frame was read without an error")
	}
	var got []string
	for _, line := range o {
		got = append(got, line.Text)
	}
	if diff := cmp.Diff([]string{"first", "second", "third"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// Without frames, which are the library's business.
func FuzzReadOutput(f *testing.F) {
	f.Add([]byte("2026-11-22T15:56:38.2Z second\n"))
	f.Fuzz(func(t *testing.T, logs []byte) {
		o, _ := readOutput(bytes.NewReader(logs), true)
		for _, line := range o {
			if line.Text == "" || strings.Contains(line.Text, "\n") {
				t.Errorf("line %q", line.Text)
			}
		}
	})
}
