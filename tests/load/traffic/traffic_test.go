package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs handle for each connection, which is the n-th, and returns the
// server's address.
func serve(t *testing.T, handle func(n int, c *net.TCPConn, in *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(n, c.(*net.TCPConn), bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().String()
}

// request reads one request, and reports whether there was one.
func request(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, r.Body)
	return true
}

const ok = "HTTP/1.1 200 OK\r\nX-Revision: 1\r\nContent-Length: 3\r\n\r\nyes"

// always answers every request with text.
func always(text string) func(int, *net.TCPConn, *bufio.Reader) {
	return func(_ int, c *net.TCPConn, in *bufio.Reader) {
		for request(in) {
			io.WriteString(c, text)
		}
	}
}

// then answers one request with text and ends the connection, with a reset or not.
func then(text string, reset bool) func(int, *net.TCPConn, *bufio.Reader) {
	return func(_ int, c *net.TCPConn, in *bufio.Reader) {
		request(in)
		io.WriteString(c, text)
		if reset {
			c.SetLinger(0)
		}
	}
}

func options(address string) Options {
	return Options{
		URL: "http://" + address + "/", For: 200 * time.Millisecond,
		ConnectTimeout: 300 * time.Millisecond, AnswerTimeout: 300 * time.Millisecond,
		KeepAlivePause: 5 * time.Millisecond,
	}
}

func mustRun(t *testing.T, o Options) Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Total.Sent != r.Total.Answered+r.Total.Lost {
		t.Errorf("%d sent, %d answered, %d lost: one has no outcome", r.Total.Sent, r.Total.Answered, r.Total.Lost)
	}
	return r
}

func TestEveryKindOfLoss(t *testing.T) {
	closed := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	on := func(handle func(int, *net.TCPConn, *bufio.Reader)) func(*testing.T) string {
		return func(t *testing.T) string { return serve(t, handle) }
	}
	half := ok[:len(ok)-2]
	for _, c := range []struct {
		name    string
		address func(*testing.T) string
		want    Kind
	}{
		{"nothing listens", closed, Refused},
		{"queue full", fullQueue, ConnectTimeout},
		{"silence", on(func(_ int, c *net.TCPConn, in *bufio.Reader) { io.Copy(io.Discard, in) }), AnswerTimeout},
		{"silence in the body", on(func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, half)
			io.Copy(io.Discard, in)
		}), AnswerTimeout},
		{"reset", on(then("", true)), ResetBeforeReply},
		{"end", on(then("", false)), EOFBeforeReply},
		{"end in the header", on(then(ok[:10], false)), EOFInReply},
		{"end in the body", on(then(half, false)), EOFInReply},
		{"reset in the body", on(func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, half)
			time.Sleep(50 * time.Millisecond) // a reset would overtake what the client has not read yet
			c.SetLinger(0)
		}), ResetInReply},
		{"503", on(always("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")), BadStatus},
		{"not HTTP", on(always("SSH-2.0-OpenSSH\r\n\r\n")), Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(c.address(t))
			o.ConnectionsPerSecond = 20
			r := mustRun(t, o)
			if r.New.Sent < 2 || r.New.Lost != r.New.Sent {
				t.Errorf("%d of %d lost, want all of several", r.New.Lost, r.New.Sent)
			}
			if diff := cmp.Diff(map[Kind]int{c.want: r.New.Sent}, r.New.LostByKind); diff != "" {
				t.Errorf("kinds (-want +got):\n%s%+v", diff, r.Losses)
			}
			if len(r.Losses) == 0 || r.Losses[0].Kind != c.want || r.Losses[0].Error == "" || r.Losses[0].Time.IsZero() || r.Losses[0].Traffic != "new" {
				t.Errorf("losses %+v, want one that tells of %s", r.Losses, c.want)
			}
		})
	}
}

// fullQueue returns the address of a server that accepts nothing, and whose
// queue has no room for another connection.
func fullQueue(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

func TestConnectKinds(t *testing.T) {
	for err, want := range map[error]Kind{
		syscall.EHOSTUNREACH:          NoRoute,
		syscall.ENETUNREACH:           NoRoute,
		syscall.ETIMEDOUT:             ConnectTimeout,
		syscall.ECONNREFUSED:          Refused,
		syscall.EADDRNOTAVAIL:         Client,
		syscall.EMFILE:                Client,
		errors.New("something other"): Client,
	} {
		wrapped := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
		if got := connectKind(wrapped); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestAnswersByRevision(t *testing.T) {
	t.Parallel()
	o := options(serve(t, func(n int, c *net.TCPConn, in *bufio.Reader) {
		revision := "1"
		if n > 3 {
			revision = "2"
		}
		request(in)
		io.WriteString(c, strings.Replace(ok, "X-Revision: 1", "X-Revision: "+revision, 1))
	}))
	o.ConnectionsPerSecond = 50
	r := mustRun(t, o)
	if r.Total.Lost != 0 || len(r.Revisions) != 2 || r.Revisions["1"].Answers != 3 || r.Revisions["2"].Answers != r.New.Sent-3 {
		t.Fatalf("%s", r)
	}
	one, two := r.Revisions["1"], r.Revisions["2"]
	if two.First.After <= one.First.After || !two.First.Time.After(one.First.Time) || two.Last.After < two.First.After {
		t.Errorf("times out of order: %+v, %+v", one, two)
	}
}

func TestTheRateDoesNotWaitForAnswers(t *testing.T) {
	t.Parallel()
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		request(in)
		time.Sleep(150 * time.Millisecond)
		io.WriteString(c, ok)
	}))
	o.ConnectionsPerSecond = 100
	r := mustRun(t, o)
	if r.New.Sent < 15 || r.New.Sent > 21 {
		t.Errorf("%d sent in 200ms at 100 a second", r.New.Sent)
	}
	if r.Total.Lost != 0 {
		t.Errorf("%s", r)
	}
	if r.New.SlowestAnswer < 0.15 {
		t.Errorf("slowest answer %.3fs, want at least 0.15s", r.New.SlowestAnswer)
	}
}

// A request is a datagram, and its answer another one.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go func() {
		request := make([]byte, 1000)
		for n := 0; ; n++ {
			_, from, err := socket.ReadFrom(request)
			if err != nil {
				return
			}
			if n != 5 { // which gets lost
				socket.WriteTo([]byte(ok), from)
			}
		}
	}()
	o := options(socket.LocalAddr().String())
	o.URL = strings.Replace(o.URL, "http:", "udp:", 1)
	o.KeepAlive, o.ConnectionsPerSecond, o.For = 1, 20, time.Second
	r := mustRun(t, o)
	if r.Total.Lost != 1 || r.Total.LostByKind[AnswerTimeout] != 1 || r.KeepAlive.Answered < 10 || r.New.Answered < 10 {
		t.Errorf("%s", r)
	}
}

func TestKeepAliveUsesOneConnection(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		connections.Add(1)
		always(ok)(0, c, in)
	}))
	o.KeepAlive = 2
	r := mustRun(t, o)
	if connections.Load() != 2 || r.KeepAlive.Sent < 10 || r.Total.Lost != 0 || r.Total.Retried != 0 {
		t.Errorf("%d connections; %s", connections.Load(), r)
	}
}

func TestKeepAliveRetriesOnce(t *testing.T) {
	for _, c := range []struct {
		name          string
		handle        func(n int, c *net.TCPConn, in *bufio.Reader)
		retried, lost bool
		kind          Kind
	}{
		{"connection ended while idle", func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, ok)
		}, true, false, ""},
		{"reset at the second request", func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, ok)
			request(in)
			c.SetLinger(0)
		}, true, false, ""},
		{"the server said that it closes", func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, strings.Replace(ok, "\r\n", "\r\nConnection: close\r\n", 1))
		}, false, false, ""},
		{"a new connection is not retried", then("", false), false, true, EOFBeforeReply},
		{"an answer that began is not retried", func(_ int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			io.WriteString(c, ok)
			request(in)
			io.WriteString(c, ok[:20])
		}, false, true, EOFInReply},
		{"the retry is lost", func(n int, c *net.TCPConn, in *bufio.Reader) {
			request(in)
			if n%2 == 1 {
				io.WriteString(c, ok)
			}
		}, true, true, EOFBeforeReply},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(serve(t, c.handle))
			o.KeepAlive = 1
			r := mustRun(t, o)
			if (r.KeepAlive.Retried > 0) != c.retried || (r.KeepAlive.Lost > 0) != c.lost || r.KeepAlive.Sent < 2 {
				t.Errorf("%s; want retried %t, lost %t", r, c.retried, c.lost)
			}
			if c.lost && r.KeepAlive.LostByKind[c.kind] != r.KeepAlive.Lost {
				t.Errorf("kinds %v, want %s", r.KeepAlive.LostByKind, c.kind)
			}
		})
	}
}

// A client that cannot know whether a POST was taken must not send it again.
func TestPostIsNotRetried(t *testing.T) {
	t.Parallel()
	methods := make(chan string, 1)
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		if r, err := http.ReadRequest(in); err == nil {
			body, _ := io.ReadAll(r.Body)
			select {
			case methods <- fmt.Sprintf("%s %s, with an id: %t", r.Method, body, r.Header.Get("X-Request-Id") != ""):
			default:
			}
		}
		io.WriteString(c, ok)
	}))
	o.KeepAlive, o.ConnectionsPerSecond, o.Post = 1, 20, true
	r := mustRun(t, o)
	if r.Total.Retried != 0 || r.KeepAlive.LostByKind[EOFBeforeReply]+r.KeepAlive.LostByKind[ResetBeforeReply] == 0 || r.New.Answered == 0 || r.New.Lost != 0 {
		t.Errorf("%s", r)
	}
	if got := <-methods; got != "POST a=order, with an id: true" {
		t.Error(got)
	}
}

func TestSlowRequests(t *testing.T) {
	t.Parallel()
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil || r.URL.Path != "/slow" {
			return
		}
		time.Sleep(d)
		io.WriteString(c, ok)
	}))
	// Longer than the answer time-out and than the run, which waits for them.
	o.SlowPerSecond, o.SlowFor = 50, 400*time.Millisecond
	r := mustRun(t, o)
	if r.Slow.Sent < 5 || r.Slow.Lost != 0 || r.Seconds < 0.4 {
		t.Errorf("%s", r)
	}
	if r.Slow.SlowestAnswer > 0.3 {
		t.Errorf("slowest answer %.2fs beyond what was asked for", r.Slow.SlowestAnswer)
	}
}

func TestStopWaitsForAnswers(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 100)
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		request(in)
		arrived <- struct{}{}
		time.Sleep(100 * time.Millisecond)
		io.WriteString(c, ok)
	}))
	o.ConnectionsPerSecond, o.For = 100, time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Stopped || r.Total.Lost != 0 || r.Total.Answered != r.Total.Sent || r.Seconds > 10 {
		t.Errorf("stopped %t; %s", r.Stopped, r)
	}
}

// If the server had a request for long before it closed the connection, it has cut it
// off.
func TestKeepAliveCutIsLost(t *testing.T) {
	t.Parallel()
	o := options(serve(t, func(_ int, c *net.TCPConn, in *bufio.Reader) {
		request(in)
		io.WriteString(c, ok)
		request(in)
		time.Sleep(onItsWay + 100*time.Millisecond) // the length of its work
	}))
	o.KeepAlive, o.For, o.AnswerTimeout = 1, time.Second, 10*time.Second
	r := mustRun(t, o)
	if r.KeepAlive.Lost != 1 || r.KeepAlive.LostByKind[EOFBeforeReply] != 1 || r.KeepAlive.Retried != 0 {
		t.Errorf("%s, %v; want one lost", r, r.KeepAlive.LostByKind)
	}
}

func TestBegun(t *testing.T) {
	t.Parallel()
	o := options(serve(t, always(ok)))
	begun := 0
	o.KeepAlive, o.Begun = 2, func() { begun++ }
	if r := mustRun(t, o); begun != 1 || r.Total.Answered < 2 {
		t.Errorf("begun %d times with %d answers", begun, r.Total.Answered)
	}
	begun = 0
	o = options(serve(t, then("", false)))
	o.KeepAlive, o.Begun = 1, func() { begun++ }
	if mustRun(t, o); begun != 0 {
		t.Error("begun without an answer")
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	o := options(serve(t, always(ok)))
	o.KeepAlive, o.For, o.Progress = 1, 1100*time.Millisecond, &lines
	mustRun(t, o)
	if got := lines.String(); !strings.Contains(got, "0 lost") || !strings.Contains(got, "answers by revision: 1: ") {
		t.Errorf("progress %q", got)
	}
}

func TestWrongOptions(t *testing.T) {
	good := options("127.0.0.1:1")
	good.KeepAlive = 1
	if _, err := good.check(); err != nil {
		t.Fatal(err)
	}
	withoutPort := good
	withoutPort.URL = "http://[::1]/"
	if u, err := withoutPort.check(); err != nil || u.Host != "[::1]:80" {
		t.Errorf("%s: host %v, %v", withoutPort.URL, u, err)
	}
	for name, spoil := range map[string]func(*Options){
		"https":     func(o *Options) { o.URL = "https://127.0.0.1:1/" },
		"no host":   func(o *Options) { o.URL = "http://:80/" },
		"too long":  func(o *Options) { o.For = MaxDuration + 1 },
		"no end":    func(o *Options) { o.For = 0 },
		"too fast":  func(o *Options) { o.ConnectionsPerSecond = 1e6 },
		"too many":  func(o *Options) { o.KeepAlive = 1e6 },
		"nothing":   func(o *Options) { o.KeepAlive = 0 },
		"time-outs": func(o *Options) { o.AnswerTimeout = 0 },
	} {
		o := good
		spoil(&o)
		if _, err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
