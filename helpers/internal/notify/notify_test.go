package notify

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// listen returns what reaches the socket of a service manager, message by message.
func listen(t *testing.T) (Notifier, func() string) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return FromEnvironment(), func() string {
		t.Helper()
		buffer := make([]byte, 1<<16)
		socket.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
}

// assignments splits a message as systemd does: at line breaks and carriage
// returns, and without the backslash before each character that has one. ok is
// false when systemd would drop the whole message.
func assignments(message string) (list []string, ok bool) {
	if len(message) > 4096 || !utf8.ValidString(message) || strings.ContainsRune(message, 0) {
		return nil, false
	}
	var b strings.Builder
	for i := 0; i < len(message); i++ {
		switch message[i] {
		case '\n', '\r':
			list = append(list, b.String())
			b.Reset()
			continue
		case '\\':
			if i++; i == len(message) {
				return nil, false
			}
		}
		b.WriteByte(message[i])
	}
	return append(list, b.String()), true
}

func TestStatus(t *testing.T) {
	n, received := listen(t)
	for text, want := range map[string]string{
		"plain":                           "plain",
		"x\rMAINPID=1":                    `x\rMAINPID=1`,
		"x\nMAINPID=1\nREADY=1":           "x MAINPID=1 READY=1",
		"x\r\nERRNO=5\x00FDSTORE=1":       `x\r ERRNO=5\x00FDSTORE=1`,
		`C:\new "x" \`:                    `C:\new "x" \`,
		"\x1b]0;evil\a\xff\u2028\u009b2J": `\x1b]0;evil\a\xff\u2028\u009b2J`,
		strings.Repeat(`\`, 10_000):       strings.Repeat(`\`, 1997) + "…",
	} {
		n.Status("%s", text)
		got, ok := assignments(received())
		if !ok || !slices.Equal(got, []string{"STATUS=" + want}) {
			t.Errorf("%.40q: systemd reads %.100q, %v; want the status %.60q", text, got, ok, want)
		}
	}
}

func FuzzStatus(f *testing.F) {
	for _, s := range []string{"", "\r", "\\", "a\\\nb", "\x00", "\xff", "%s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		To(func(message string) {
			if got, ok := assignments(message); !ok || len(got) != 1 || !strings.HasPrefix(got[0], "STATUS=") {
				t.Errorf("%q is sent as %q, which systemd reads as %q, %v", text, message, got, ok)
			}
		}).Status("%s", text)
	})
}

func TestNothingListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	FromEnvironment().Ready()
	Notifier{}.Stopping()
}
