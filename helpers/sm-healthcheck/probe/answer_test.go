package probe

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"503 Service Unavailable": "503 Service Unavailable",
		"500 ":                    "500",
		"500 \x1b[31mred\r\n":     "500  [31mred",
		"500 \xff\xfe!":           "500  !",
		strings.Repeat("é", 101):  strings.Repeat("é", 100) + "...",
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q; want %q", text, got, want)
		}
	}
}

// Whatever a server answers, a person can read what became of the probe.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0 404 Not Found\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 500 \x1b[31m\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "\x16\x03\x01", "",
	} {
		f.Add([]byte(seed))
	}
	u, err := url.Parse("http://172.17.0.3/")
	if err != nil {
		f.Fatal(err)
	}
	p := get{url: u, header: http.Header{}}
	f.Fuzz(func(t *testing.T, answer []byte) {
		probe, server := net.Pipe()
		defer probe.Close()
		go func() {
			defer server.Close()
			http.ReadRequest(bufio.NewReader(server))
			server.Write(answer)
		}()
		seen, err := p.ask(probe)
		if err != nil {
			seen = reason(err, time.Second).Error()
		}
		if seen == "" || !utf8.ValidString(seen) || strings.ContainsFunc(seen, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q (%v) is shown as %q", answer, err, seen)
		}
		if err == nil && !strings.HasPrefix(seen, "2") && !strings.HasPrefix(seen, "3") {
			t.Errorf("%q is healthy", answer)
		}
		io.Copy(io.Discard, probe)
	})
}
