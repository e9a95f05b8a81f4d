package probe

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"http://172.17.0.3:80/", "https://[fd00::3]/x?y#z", "tcp://h:1", "unix:///s", "http://:80/", "http://[]:80/", "tcp://u@h:1", "http://a b/", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, Options{Header: http.Header{"User-Agent": {"x"}}})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("an error of more than one line: %q", err)
			}
			return
		}
		network, address := p.place()
		if network == "unix" {
			return
		}
		host, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.Atoi(port); err != nil || host == "" || portErr != nil || n < 1 || n > 65535 {
			t.Errorf("Parse(%q) would connect to %q", text, address)
		}
		g, ok := p.(get)
		if !ok {
			return
		}
		// What is sent must be one request, whatever the URL holds.
		var sent strings.Builder
		request := &http.Request{Method: "GET", URL: g.url, Host: g.url.Host, Header: g.header}
		if request.Write(&sent) != nil {
			return
		}
		if lines := strings.Count(sent.String(), "\n"); lines != 4 {
			t.Errorf("Parse(%q): the request has %d lines: %q", text, lines, sent.String())
		}
	})
}

// The error for a URL that is of no kind names all that there are.
func TestNoKind(t *testing.T) {
	for _, url := range []string{"ftp://h", "h:80"} {
		_, err := Parse(url, Options{})
		for scheme := range kinds {
			if err == nil || !strings.Contains(err.Error(), scheme+"://") || !strings.Contains(err.Error(), aliveURL) {
				t.Errorf("%s: %v; want an error that names %s", url, err, scheme)
			}
		}
	}
}

func TestOptionalMethods(t *testing.T) {
	type another struct {
		connect
		headed
		process
	}
	for _, test := range []struct {
		probe            Probe
		headers, process bool
	}{
		{get{}, true, false},
		{connect{}, false, false},
		{alive{}, false, true},
		{another{}, true, true},
	} {
		if headers, process := TakesHeaders(test.probe), NeedsProcess(test.probe); headers != test.headers || process != test.process {
			t.Errorf("%T: takes headers: %t, needs a process: %t", test.probe, headers, process)
		}
	}
}
