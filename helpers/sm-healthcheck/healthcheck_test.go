package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
)

// world returns a world for run that records what is sent to the service manager.
func world(env map[string]string, args ...string) (command.World, func() []string) {
	var mu sync.Mutex
	var sent []string
	w := command.World{
		Args:   args,
		Stdout: io.Discard,
		Stderr: io.Discard,
		Env:    func(name string) (string, bool) { value, ok := env[name]; return value, ok },
		Notify: notify.To(func(state string) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, state)
		}),
	}
	return w, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sent)
	}
}

// serveRaw hands each connection to a new listener to handle.
func serveRaw(t *testing.T, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go handle(conn.(*net.TCPConn))
		}
	}()
	return listener.Addr().String()
}

// refusing returns an address at which nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// answer reads a request and writes a fixed answer.
func answer(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		defer conn.Close()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			io.WriteString(conn, text)
			io.Copy(io.Discard, conn) // until the probe ends it
		}
	}
}

// firstOutcome waits for health until the first probe that succeeds or fails, however
// long that takes on a busy machine, and returns the reason of a failure.
func firstOutcome(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	w, _ := world(nil, append([]string{"--timeout", "5m", "--interval", "5m"}, args...)...)
	w.Notify = notify.To(func(state string) {
		if strings.HasPrefix(state, "STATUS=waiting for health") && !strings.HasSuffix(state, ": no answer yet") {
			end()
		}
	})
	err := run(ctx, w)
	if err == nil {
		return ""
	}
	reason, ok := strings.CutPrefix(err.Error(), "stopped before it was healthy: "+name+": ")
	if !ok {
		t.Fatalf("got %q; want the end of the wait for %s", err, name)
	}
	return reason
}

// tookLonger matches the time of a probe without an answer, which a busy machine
// makes longer than its time-out.
var tookLonger = regexp.MustCompile(`^no answer within (\d+ms|[\d.]+s)$`)

func TestOutcomes(t *testing.T) {
	status := func(code int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if code >= 300 && code < 400 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(code)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	// never answers before the test has ended
	silent := serveRaw(t, func(conn *net.TCPConn) { io.Copy(io.Discard, conn); conn.Close() })
	resetting := serveRaw(t, func(conn *net.TCPConn) {
		http.ReadRequest(bufio.NewReader(conn))
		conn.SetLinger(0)
		conn.Close()
	})
	closing := serveRaw(t, func(conn *net.TCPConn) {
		http.ReadRequest(bufio.NewReader(conn))
		conn.Close()
	})
	nothing := refusing(t)

	for _, test := range []struct {
		url  string
		args []string
		want string // the reason; empty for success

		unanswered bool // the reason is that the probe's time was up
	}{
		{url: status(200)},
		{url: status(204) + "/deep?q=1"},
		{url: status(302)},
		{url: status(399)},
		{url: status(400), want: "400 Bad Request"},
		{url: status(404), want: "404 Not Found"},
		{url: status(503), want: "503 Service Unavailable"},
		{url: "http://" + serveRaw(t, answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))},
		{url: "http://" + serveRaw(t, answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n")), want: "500"},
		{url: "http://" + serveRaw(t, answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")), want: "101 Switching Protocols"},
		{url: "http://" + serveRaw(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"+strings.Repeat("x", 2000000)))},
		{url: "http://" + serveRaw(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")), unanswered: true},
		{url: "http://" + serveRaw(t, answer("SSH-2.0-OpenSSH_9.2\r\n")), want: `malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{url: "http://" + nothing + "/", want: "connection refused"},
		{url: "http://" + silent + "/", unanswered: true},
		{url: "http://" + resetting + "/", want: "connection reset by peer"},
		{url: "http://" + closing + "/", want: "connection closed before the answer was complete"},
		{url: secure.URL},
		{url: secure.URL, args: []string{"--verify"}, want: "x509: certificate signed by unknown authority"},
		{url: strings.Replace(status(200), "http:", "https:", 1), want: "the answer is not TLS"},
		{url: strings.Replace(secure.URL, "https:", "http:", 1), want: "400 Bad Request"},
		{url: "tcp://" + silent},
		{url: "tcp://" + nothing, want: "connection refused"},
		{url: "unix://" + socket},
		{url: "unix:///no/such/socket", want: "no such file or directory"},
	} {
		t.Run(strings.ReplaceAll(test.want+" "+test.url, "/", "_"), func(t *testing.T) {
			t.Parallel()
			name, limit := test.url, "5m"
			if strings.HasPrefix(name, "http") {
				name = "GET " + name
			}
			if test.unanswered {
				limit = "200ms"
			}
			got := firstOutcome(t, name, append(append([]string{"--probe-timeout", limit}, test.args...), test.url)...)
			if got != test.want && !(test.unanswered && tookLonger.MatchString(got)) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- r }))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	w, _ := world(nil, "--header", "X-Probe: one two", "http://user:secret@"+host+"/up?deep=1#part")
	if err := run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	if r.Method != "GET" || r.RequestURI != "/up?deep=1" || r.Host != host || r.Close || r.ProtoMajor != 1 ||
		r.UserAgent() != "sm-healthcheck" || r.Header.Get("X-Probe") != "one two" || r.Header.Get("Connection") != "" {
		t.Errorf("got %s %s of %s with %v", r.Method, r.RequestURI, r.Host, r.Header)
	}
	if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
		t.Errorf("authenticated as %q with %q", user, password)
	}

	w, _ = world(nil, "--header", "Host: example.org", s.URL)
	if err := run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if r := <-requests; r.Host != "example.org" || r.RequestURI != "/" {
		t.Errorf("with a header Host: got %s of %s", r.RequestURI, r.Host)
	}
}

// Whatever the server does at the end, the connection must be reset: neither side may
// hold a port once the probe is over.
func TestProbeResets(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, test := range map[string]struct {
		scheme string
		serve  func(*net.TCPConn)
	}{
		"keep-alive":    {"http", func(c *net.TCPConn) { http.ReadRequest(bufio.NewReader(c)); io.WriteString(c, ok) }},
		"unhealthy":     {"http", func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 503 No\r\n\r\n") }},
		"half closed":   {"http", func(c *net.TCPConn) { http.ReadRequest(bufio.NewReader(c)); io.WriteString(c, ok); c.CloseWrite() }},
		"never answers": {"http", func(*net.TCPConn) {}},
		"tcp":           {"tcp", func(*net.TCPConn) {}},
		"not TLS":       {"https", func(c *net.TCPConn) { io.WriteString(c, ok) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ends := make(chan error, 100)
			address := serveRaw(t, func(conn *net.TCPConn) {
				defer conn.Close()
				test.serve(conn)
				_, err := io.Copy(io.Discard, conn)
				ends <- err
			})
			url := test.scheme + "://" + address
			name := url
			if test.scheme != "tcp" {
				name = "GET " + url
			}
			firstOutcome(t, name, "--probe-timeout", "1s", url)
			if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection ended with %v; want a reset", err)
			}
		})
	}
}

// A connection that the server closes first leaves the port with the server,
// unless the probe resets it.
func TestNoTimeWait(t *testing.T) {
	closed := make(chan struct{})
	address := serveRaw(t, func(conn *net.TCPConn) {
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n")
		conn.Close()
		close(closed)
	})
	w, _ := world(nil, "http://"+address)
	if err := run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	<-closed
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(table), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] != "0A" {
			t.Errorf("the server still holds a connection in state %s: %s", fields[3], line)
		}
	}
}

func TestBecomesHealthy(t *testing.T) {
	var probes atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if probes.Add(1) <= 2 {
			w.WriteHeader(503)
		}
	}))
	defer s.Close()
	w, sent := world(nil, "--timeout", "1m", "--hold", "50ms", "--interval", "5ms", s.URL)
	if err := run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if n := probes.Load(); n < 4 {
		t.Errorf("%d probes; want two failures, and the beginning and end of the hold", n)
	}
	messages := withoutTimes(sent())
	for i, want := range []string{
		"EXTEND_TIMEOUT_USEC=75050000",
		"STATUS=waiting for health until 00:00:00: GET " + s.URL + ": no answer yet",
		"STATUS=waiting for health until 00:00:00: GET " + s.URL + ": 503 Service Unavailable",
		"STATUS=healthy: GET " + s.URL + ": has to hold for 50ms",
		"STATUS=healthy: GET " + s.URL + ": 200 OK",
	} {
		if i >= len(messages) || messages[i] != want {
			t.Fatalf("message %d: got %q\nwant %q", i, messages, want)
		}
	}
	if len(messages) != 5 {
		t.Errorf("a status was sent again without a change: %q", messages)
	}
}

// withoutTimes returns messages with every time of day set to midnight.
func withoutTimes(messages []string) []string {
	for i, m := range messages {
		messages[i] = timeOfDay.ReplaceAllString(m, "until 00:00:00:")
	}
	return messages
}

var timeOfDay = regexp.MustCompile(`until \d\d:\d\d:\d\d:`)

func TestHoldBeginsAnew(t *testing.T) {
	var probes, failed atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// The second probe belongs to the hold, however late it comes.
		if probes.Add(1) == 2 {
			failed.Store(time.Now().UnixNano())
			w.WriteHeader(500)
		}
	}))
	defer s.Close()
	w, sent := world(nil, "--timeout", "1m", "--hold", "200ms", "--interval", "20ms", s.URL)
	if err := run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(time.Unix(0, failed.Load())); probes.Load() < 4 || took < 200*time.Millisecond {
		t.Errorf("done after %d probes and %s though one failed in the hold", probes.Load(), took)
	}
	if !slices.Contains(withoutTimes(sent()), "STATUS=waiting for health until 00:00:00: GET "+s.URL+": 500 Internal Server Error") {
		t.Errorf("the failure in the hold is not in the status: %q", sent())
	}
}

// A run of successes that began in time may end after it.
func TestHoldOutlastsTimeout(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	w, _ := world(nil, "--timeout", "2s", "--hold", "2500ms", "--interval", "50ms", s.URL)
	if err := run(t.Context(), w); err != nil {
		t.Error(err)
	}
}

func TestDiesInHold(t *testing.T) {
	t.Parallel()
	var probes atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew && probes.Add(1) == 3 {
			go s.Listener.Close()
		}
	}
	s.Start()
	defer s.Close()
	w, _ := world(nil, "--timeout", "2s", "--hold", "1m", "--interval", "20ms", s.URL)
	begin := time.Now()
	err := run(t.Context(), w)
	if err == nil || !strings.HasPrefix(err.Error(), "not healthy after 2s: GET "+s.URL+": connection refused (it held for ") ||
		!strings.HasSuffix(err.Error(), " of 1m0s)") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("noticed only after %s", took)
	}
}

// The end of the time cuts a probe short; the earlier reason stays.
func TestLastReasonStays(t *testing.T) {
	t.Parallel()
	var probes atomic.Int32
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if probes.Add(1) > 1 {
			<-release
		}
		w.WriteHeader(503)
	}))
	defer s.Close()
	defer close(release)
	w, _ := world(map[string]string{"SM_CONTAINER_NAME": "web.2-9ab"}, "--timeout", "2s", "--interval", "20ms", s.URL)
	err := run(t.Context(), w)
	if want := "web.2-9ab: not healthy after 2s: GET " + s.URL + ": 503 Service Unavailable"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestEndsAtSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := serveRaw(t, func(conn *net.TCPConn) {
		cancel()
		io.Copy(io.Discard, conn)
		conn.Close()
	})
	w, _ := world(nil, "http://"+address+"/")
	err := run(ctx, w)
	if want := "stopped before it was healthy: GET http://" + address + "/"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestMainProcessEnds(t *testing.T) {
	main := exec.Command("cat")
	stdin, err := main.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := main.Start(); err != nil {
		t.Fatal(err)
	}
	defer main.Wait()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stdin.Close()
		w.WriteHeader(503)
	}))
	defer s.Close()
	env := map[string]string{"MAINPID": strconv.Itoa(main.Process.Pid), "SM_CONTAINER_NAME": "web.2-9ab"}
	w, sent := world(env, "--timeout", "5m", s.URL)
	begin := time.Now()
	err = run(t.Context(), w)
	if want := "web.2-9ab: wait for health: the main process of the unit has ended"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("noticed only after %s", took)
	}
	before := len(sent())
	if code := command.Report("sm-healthcheck", w, err); code != 1 || len(sent()) != before {
		t.Errorf("exit code %d, and the status of the main process was replaced: %q", code, sent()[before:])
	}

	// It is gone already: nothing is probed, and an address that is missing is
	// only a consequence.
	main.Wait()
	w, _ = world(env, "http://:80/")
	if err := run(t.Context(), w); err == nil || !strings.Contains(err.Error(), "the main process of the unit has ended") {
		t.Errorf("with a dead main process: got %v", err)
	}
}

func TestNoAddressYet(t *testing.T) {
	for _, url := range []string{"http://:80/", "http://[]:80/", "tcp://:5432", "https:///x"} {
		w, _ := world(map[string]string{"SM_CONTAINER_NAME": "web.2-9ab"}, url)
		err := run(t.Context(), w)
		want := fmt.Sprintf("web.2-9ab: wait for health: URL %q: the container has no address yet; check with systemctl status that its container has started", url)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestNoAddressHidesPassword(t *testing.T) {
	w, _ := world(nil, "http://user:secret@:80/")
	if err := run(t.Context(), w); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "http://user:xxxxx@:80/") {
		t.Errorf("got %v; want the URL without its password", err)
	}
}
