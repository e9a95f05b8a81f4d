package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started is an application that runs in this process.
type started struct {
	url       string
	terminate chan os.Signal
	lines     *bufio.Scanner
	status    chan int
}

func start(t *testing.T, environment map[string]string) *started {
	t.Helper()
	r, w := io.Pipe()
	a := &started{terminate: make(chan os.Signal, 8), lines: bufio.NewScanner(r), status: make(chan int, 1)}
	getenv := func(name string) string {
		if name == "PORT" {
			return "0"
		}
		return environment[name]
	}
	go func() {
		a.status <- run(getenv, w, a.terminate)
		w.Close()
	}()
	return a
}

// line returns the next log line.
func (a *started) line(t *testing.T) string {
	t.Helper()
	if !a.lines.Scan() {
		t.Fatal("no further log line")
	}
	return a.lines.Text()
}

// listening waits until it listens.
func (a *started) listening(t *testing.T) {
	t.Helper()
	a.line(t) // starting
	line := a.line(t)
	_, port, ok := strings.Cut(line, "listening on [::]:")
	if !ok {
		t.Fatalf("log line %q, want listening", line)
	}
	a.url = "http://127.0.0.1:" + port
}

func get(t *testing.T, url string) (status int, revision, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header.Get("X-Revision"), string(b)
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		environment map[string]string
		path        string
		status      int
		atLeast     time.Duration
	}{
		{nil, "/", 200, 0},
		{nil, "/health", 200, 0},
		{nil, "/slow?for=50ms", 200, 50 * time.Millisecond},
		{nil, "/slow?for=x", 400, 0},
		{map[string]string{"APP_HEALTH": "never"}, "/health", 503, 0},
		{map[string]string{"APP_HEALTH": "never"}, "/", 503, 0},
		{map[string]string{"APP_HEALTH": "after=1h"}, "/", 503, 0},
		{map[string]string{"APP_HEALTH": "after=0s"}, "/", 200, 0},
		{map[string]string{"APP_SLOW": "50ms"}, "/", 200, 50 * time.Millisecond},
		{map[string]string{"APP_START_DELAY": "20ms"}, "/", 200, 0},
	} {
		t.Run(fmt.Sprint(c.path, c.environment), func(t *testing.T) {
			environment := map[string]string{"APP_REVISION": "7"}
			for k, v := range c.environment {
				environment[k] = v
			}
			a := start(t, environment)
			a.listening(t)
			begin := time.Now()
			status, revision, body := get(t, a.url+c.path)
			if status != c.status || revision != "7" || (status == 200 && body != "revision 7\n") {
				t.Errorf("got %d, X-Revision %q, %q; want %d, 7", status, revision, body, c.status)
			}
			if took := time.Since(begin); took < c.atLeast {
				t.Errorf("answered after %s, want at least %s", took, c.atLeast)
			}
			http.DefaultClient.CloseIdleConnections()
			a.terminate <- syscall.SIGTERM
			a.line(t)
			a.line(t)
			if status := <-a.status; status != 0 {
				t.Errorf("exit status %d, want 0", status)
			}
		})
	}
}

func TestAnswersDatagrams(t *testing.T) {
	a := start(t, map[string]string{"APP_REVISION": "7"})
	a.listening(t)
	conn, err := net.Dial("udp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer := make([]byte, 1000)
		n, err := conn.Read(answer)
		if want := "HTTP/1.1 200 OK\r\nX-Revision: 7\r\nContent-Length: 11\r\n\r\nrevision 7\n"; string(answer[:n]) != want {
			t.Errorf("got %q, %v; want %q", answer[:n], err, want)
		}
	}
}

func TestPrintsRequests(t *testing.T) {
	a := start(t, nil)
	a.listening(t)
	request, err := http.NewRequest("POST", a.url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Request-Id", "12")
	answered := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	if line := a.line(t); line != `app none: request "12"` {
		t.Errorf("line %q", line)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestExits(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		a := start(t, map[string]string{"APP_EXIT_AT_ONCE": "1", "APP_EXIT_STATUS": "3", "APP_LAST_LINE": "no database"})
		a.line(t)
		if line := a.line(t); line != "app none: no database" {
			t.Errorf("last line %q", line)
		}
		if status := <-a.status; status != 3 {
			t.Errorf("exit status %d, want 3", status)
		}
	})
	t.Run("after it listened", func(t *testing.T) {
		a := start(t, map[string]string{"APP_EXIT_AFTER": "20ms"})
		a.listening(t)
		a.line(t)
		if status := <-a.status; status != 1 {
			t.Errorf("exit status %d, want 1", status)
		}
	})
	t.Run("wrong settings", func(t *testing.T) {
		a := start(t, map[string]string{"APP_HEALTH": "perhaps", "APP_SLOW": "-1s", "APP_SHUTDOWN": "never", "APP_EXIT_STATUS": "x"})
		for _, name := range []string{"APP_SLOW", "APP_HEALTH", "APP_SHUTDOWN", "APP_EXIT_STATUS"} {
			if line := a.line(t); !strings.Contains(line, name) {
				t.Errorf("line %q, want one about %s", line, name)
			}
		}
		if status := <-a.status; status != 2 {
			t.Errorf("exit status %d, want 2", status)
		}
	})
}

func TestShutdown(t *testing.T) {
	slow := func(t *testing.T, a *started) <-chan error {
		asked := make(chan error, 1)
		go func() {
			r, err := http.Get(a.url + "/slow?for=300ms")
			if err == nil {
				_, err = io.ReadAll(r.Body)
				r.Body.Close()
			}
			asked <- err
		}()
		time.Sleep(100 * time.Millisecond) // for the request to arrive: the server does not say when it does
		return asked
	}
	t.Run("graceful", func(t *testing.T) {
		a := start(t, nil)
		a.listening(t)
		asked := slow(t, a)
		a.terminate <- syscall.SIGTERM
		a.line(t)
		a.line(t)
		if err := <-asked; err != nil {
			t.Errorf("the request in flight was lost: %v", err)
		}
		<-a.status
	})
	t.Run("at once", func(t *testing.T) {
		a := start(t, map[string]string{"APP_SHUTDOWN": "at-once"})
		a.listening(t)
		asked := slow(t, a)
		a.terminate <- syscall.SIGTERM
		a.line(t)
		if err := <-asked; err == nil {
			t.Error("the request in flight was answered")
		}
		<-a.status
	})
	t.Run("ignore", func(t *testing.T) {
		a := start(t, map[string]string{"APP_SHUTDOWN": "ignore", "APP_EXIT_AFTER": "200ms", "APP_EXIT_STATUS": "9"})
		a.listening(t)
		a.terminate <- syscall.SIGTERM
		if line := a.line(t); line != "app none: terminated, ignored" {
			t.Errorf("log line %q", line)
		}
		get(t, a.url)
		a.line(t)
		if status := <-a.status; status != 9 {
			t.Errorf("exit status %d, want 9", status)
		}
	})
}
