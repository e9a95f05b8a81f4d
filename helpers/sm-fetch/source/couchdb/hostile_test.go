package couchdb

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/couchdb/wiretest"
	"service-manager/units/definition"
)

// hostile is a database server that does what it likes with one kind of request,
// until it becomes a healthy one.
type hostile struct {
	address string

	mu     sync.Mutex
	where  string                                 // the kind of request
	answer func(conn io.Writer, gone func() bool) // what becomes of it; nil: healthy
}

// Kinds of requests.
const (
	info     = "info"
	changes  = "changes"
	feed     = "feed"
	document = "document"
)

func kindOf(request *http.Request) string {
	switch {
	case !strings.HasSuffix(request.URL.Path, "/_changes"):
		if request.URL.Path == "/services" {
			return info
		}
		return document
	case request.URL.Query().Get("feed") != "":
		return feed
	}
	return changes
}

func startHostile(t *testing.T, where string, answer func(io.Writer, func() bool)) *hostile {
	t.Helper()
	h := &hostile{where: where, answer: answer}
	h.address = wiretest.Listen(t, h.serve)
	return h
}

func (h *hostile) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = nil
}

const healthyRow = `{"seq":"1-x","id":"web","changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}],"doc":{"_id":"web","_rev":"1-b96274b00b02813c5674b2cedc9064fa","image":"a"}}`

func (h *hostile) serve(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		h.mu.Lock()
		answer := h.answer
		h.mu.Unlock()
		kind := kindOf(request)
		if answer != nil && kind == h.where {
			over := make(chan struct{})
			go func() {
				defer close(over)
				_, _ = reader.Peek(1)
			}()
			answer(conn, func() bool {
				select {
				case <-over:
					return true
				default:
					return false
				}
			})
			return
		}
		switch kind {
		case info:
			_, _ = conn.Write(wiretest.Info(`"1-x"`, "1"))
		case document:
			_, _ = io.WriteString(conn, whole(`{"_id":"gone","_rev":"1-b96274b00b02813c5674b2cedc9064fa"}`))
		case feed:
			_, _ = io.WriteString(conn, head+string(wiretest.Chunk(strings.Replace(healthyRow, "1-x", "2-x", 1)+"\n")))
			_, _ = reader.Peek(1)
			return
		default:
			_, _ = io.WriteString(conn, whole(`{"results":[`+healthyRow+`,{"seq":"1-y","id":"gone","changes":[]}],"last_seq":"1-x","pending":0}`))
		}
	}
}

const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

// whole returns a complete answer with a body.
func whole(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// untilEOF returns an answer that the end of the connection ends.
func untilEOF(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body
}

// says sends a text and closes the connection.
func says(text string) func(io.Writer, func() bool) {
	return func(conn io.Writer, _ func() bool) { _, _ = io.WriteString(conn, text) }
}

// endless sends a text, and then another one again and again.
func endless(start, part string) func(io.Writer, func() bool) {
	block := []byte(strings.Repeat(part, max(1, 16<<10/len(part))))
	return func(conn io.Writer, gone func() bool) {
		_, err := io.WriteString(conn, start)
		for err == nil && !gone() {
			_, err = conn.Write(block)
		}
	}
}

// drips sends a text, and then another one again and again, slowly.
func drips(start, part string) func(io.Writer, func() bool) {
	return func(conn io.Writer, gone func() bool) {
		_, err := io.WriteString(conn, start)
		for err == nil && !gone() {
			_, err = io.WriteString(conn, part)
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// hostileLimits are small, so that little time is needed to find them kept.
func hostileLimits() limits {
	l := limitsFor(time.Second)
	l.Silence, l.Whole, l.Window = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	l.Rows, l.Skip, l.Progress = 20_000, 2<<20, 64<<10
	return l
}

// behaviours are bad in answers of every kind.
func behaviours() map[string]func(io.Writer, func() bool) {
	const ok, js = "HTTP/1.1 200 OK\r\n", "Content-Type: application/json\r\n"
	bomb := gzipped(strings.Repeat(" ", 8<<20))
	all := map[string]func(io.Writer, func() bool){
		"closes at once":               says(""),
		"says nothing":                 drips("", ""),
		"speaks no HTTP":               says("220 mail.example ESMTP\r\n"),
		"speaks TLS":                   says("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"endless garbage":              endless("", "\x00\xff"),
		"endless header line":          endless(ok+"X: ", "a"),
		"endless headers":              endless(ok, "X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
		"headers drip":                 drips(ok, "X: y\r\n"),
		"a header line drips":          drips(ok+"X: ", "a"),
		"endless 1xx":                  endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"1xx drip":                     drips("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"switches protocols":           says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
		"no content":                   says("HTTP/1.1 204 No Content\r\n\r\n"),
		"part of the content":          says("HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}"),
		"not modified":                 says("HTTP/1.1 304 Not Modified\r\n\r\n"),
		"a redirect":                   says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
		"a redirect to itself":         says("HTTP/1.1 307 Temporary Redirect\r\nLocation: /services\r\nContent-Length: 0\r\n\r\n"),
		"a redirect with an end":       endless("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "a"),
		"a refusal":                    says("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
		"a status without meaning":     says("HTTP/1.1 799 \r\nContent-Length: 0\r\n\r\n"),
		"an error, endless":            endless("HTTP/1.1 500 Oops\r\n"+js+"\r\n", `{"reason":"a`),
		"an error that drips":          drips("HTTP/1.1 500 Oops\r\n"+js+"\r\n", `{`),
		"an error without an end":      says("HTTP/1.1 500 Oops\r\n" + js + "Content-Length: 1000\r\n\r\n{"),
		"an error that is HTML":        says("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>\r\n"),
		"forged lines in a reason":     says("HTTP/1.1 500 Oops\r\n" + js + "Connection: close\r\n\r\n" + `{"reason":"a\r\nMAINPID=1\u0000<0>b\u001b[2J\u009b\u007f"}`),
		"a long reason":                says("HTTP/1.1 500 Oops\r\n" + js + "Connection: close\r\n\r\n" + `{"reason":"` + strings.Repeat("ä", 1500) + `"}`),
		"a reason that is none":        says("HTTP/1.1 500 Oops\r\n" + js + "Connection: close\r\n\r\n" + `{"reason":{"a":[1]}}`),
		"forged lines in the status":   says("HTTP/1.1 500 Oops\x00\x1b[2J\r\nContent-Length: 0\r\n\r\n"),
		"two lengths":                  says(ok + js + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"),
		"a negative length":            says(ok + js + "Content-Length: -2\r\n\r\n{}"),
		"a huge length, and its end":   says(ok + js + "Content-Length: 9223372036854775807\r\n\r\n{"),
		"a huge length, and more":      endless(ok+js+"Content-Length: 9223372036854775807\r\n\r\n", "a"),
		"too large a length":           says(ok + js + "Content-Length: 99999999999999999999\r\n\r\n{"),
		"a body that is cut":           says(ok + js + "Content-Length: 100\r\n\r\n{\"resul"),
		"a chunk that is cut":          says(head + "ff\r\n{\"resul"),
		"a chunk of no size":           says(head + "zz\r\n{}\r\n"),
		"a chunk of a huge size":       endless(head+"7fffffffffffffff\r\n", "a"),
		"a chunk extension, endless":   endless(head+"2;", "a"),
		"trailers, endless":            endless(head+"2\r\n{}\r\n0\r\n", "X: y\r\n"),
		"chunks of one byte":           endless(head, "1\r\n{\r\n"),
		"an unknown encoding":          says(ok + js + "Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"),
		"an unknown transfer encoding": says(ok + js + "Transfer-Encoding: gzip\r\n\r\n" + bomb),
		"a gzip bomb":                  says(ok + js + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb),
		"gzip that is cut":             says(ok + js + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb[:100]),
		"gzip without saying so":       says(untilEOF(bomb)),
		"several parts":                endless(ok+"Content-Type: multipart/related; boundary=a\r\n\r\n--a\r\nContent-Type: application/json\r\n\r\n", "a"),
		"an empty body":                says(whole("")),
		"HTML":                         says(whole("<html></html>")),
		"endless white space":          endless(untilEOF(""), " \n\r\t"),
		"white space drips":            drips(untilEOF("{"), " "),
		"an endless string":            endless(untilEOF(`{"a":"`), "a"),
		"an endless escape":            endless(untilEOF(`{"a":"`), `\"\\`),
		"an endless number":            endless(untilEOF(`{"a":`), "1"),
		"an endless array":             endless(untilEOF(`{"a":[1`), ",1"),
		"endless nesting":              endless(untilEOF(`{"a":`), "["),
		"endless nested objects":       endless(untilEOF(""), `{"a":`),
		"endless closing":              endless(untilEOF("{"), "}]"),
		"endless members":              endless(untilEOF(`{"a":1`), `,"a":1`),
		"a string that drips":          drips(untilEOF(`{"a":"`), "a"),
		"no UTF-8":                     says(untilEOF("{\"\xff\xfe\x00\x80\":1")),
	}
	return all
}

// rowBehaviours are bad in lists of changes.
func rowBehaviours(where string) map[string]func(io.Writer, func() bool) {
	start, comma := untilEOF(`{"results":[`), ","
	if where == feed {
		start, comma = untilEOF(""), "\n"
	}
	row := `{"seq":1,"id":"web","changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}]`
	all := map[string]func(io.Writer, func() bool){
		"an endless id":                endless(start+`{"seq":1,"id":"`, "a"),
		"an endless seq":               endless(start+`{"seq":"`, "a"),
		"an endless list of revisions": endless(start+`{"seq":1,"id":"web","changes":[{"rev":"1-a"}`, `,{"rev":"1-a"}`),
		"an endless document":          endless(start+row+`,"doc":{"a":"`, "a"),
		"an endless deep document":     endless(start+row+`,"doc":`, `{"a":[`),
		"an endless second document":   endless(start+row+`,"doc":{},"doc":{"a":"`, "a"),
		"an endless member":            endless(start+row+`,"other":"`, "a"),
		"an endless hidden document":   endless(start+row+`,"d\u006fc":"`, "a"),
		"a document that drips":        drips(start+row+`,"doc":{"a":"`, "a"),
		"an id that is none":           says(start + `{"seq":1,"id":{"a":1},"changes":[]}`),
		"changes that are none":        says(start + `{"seq":1,"id":"web","changes":7}`),
		"a revision that is none":      says(start + `{"seq":1,"id":"web","changes":[{"rev":[]}]}`),
		"deleted that is none":         says(start + `{"seq":1,"id":"web","changes":[],"deleted":"yes"}`),
		"a number without an end":      says(start + row + `,"doc":{"a":1` + strings.Repeat("0", 100_000)),
		"wrong brackets":               says(start + row + `,"doc":{"a":[}]}` + comma),
		"a cut in a change":            says(start + row),
		"a cut between changes":        says(start + row + "}"),
		"a change that is a list":      says(start + "[]" + comma + "[[]]"),
		"a change that is a string":    says(start + `"a"` + comma),
		"a change that is null":        says(start + "null" + comma + "null"),
		"no last line":                 says(start),
	}
	if where == changes {
		all["endless changes"] = endless(start+row+"}", ","+row+"}")
		all["changes that drip"] = drips(start+row+"}", ","+row+"}")
		all["an endless end"] = endless(start+`],"last_seq":"`, "a")
		all["endless pending"] = endless(start+`],"pending":`, "1")
		all["no results"] = says(whole(`{"last_seq":1}`))
		all["results that are none"] = says(whole(`{"results":{"a":1}}`))
	}
	return all
}

// Whatever a server does is survived, or reported as an error on one line, in bounded
// time and memory, and a healthy server is followed afterwards.
func TestHostile(t *testing.T) {
	memory := watchMemory()
	cases := 0
	var running sync.WaitGroup
	turns := make(chan struct{}, 16) // most only wait
	for _, where := range []string{info, changes, feed, document} {
		all := behaviours()
		if where == changes || where == feed {
			for name, answer := range rowBehaviours(where) {
				all[name] = answer
			}
		}
		for name, answer := range all {
			cases++
			running.Add(1)
			turns <- struct{}{}
			go func() {
				defer func() { <-turns; running.Done() }()
				t.Run(where+": "+name, func(t *testing.T) { survive(t, startHostile(t, where, answer)) })
			}()
		}
	}
	running.Wait()
	grown := memory()
	t.Logf("%d cases, the heap grew by %d KiB at most", cases, grown>>10)
	if grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// survive follows a hostile server, which then becomes healthy.
func survive(t *testing.T, h *hostile) {
	s, err := open("http://admin:secret@"+h.address+"/services", time.Second, hostileLimits(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	healthy := errors.New("healthy")
	try := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		snapshot, err := s.Pass(ctx, source.Position{}, nil, func(source.Change) error { return nil })
		if err != nil {
			return err
		}
		return s.Watch(ctx, snapshot.Position, func(c source.Change, _ source.Position) error {
			if c.Service == "web" && c.Rev != "" {
				return healthy
			}
			return nil
		})
	}
	err = try(20 * time.Second)
	switch {
	case err == nil:
		t.Error("following ended without an error")
	case errors.Is(err, context.DeadlineExceeded):
		t.Error("following did not end")
	case !plainLine(err.Error()):
		t.Errorf("got error %q", err)
	}
	h.heal()
	for end := time.Now().Add(20 * time.Second); ; {
		if err = try(20 * time.Second); err == healthy {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the healthy server is not followed: %v", err)
		}
	}
}

// plainLine reports whether a text is fit for a log.
func plainLine(text string) bool {
	return len(text) < 1300 && !strings.Contains(text, "secret") && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// watchMemory returns a function that says by how much the heap has grown at most.
func watchMemory() func() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	start, most := m.HeapAlloc, m.HeapAlloc
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return most - start
	}
}

// One document that is too much is reported for its own service; the others are followed.
func TestStrangeChanges(t *testing.T) {
	const rev = `"changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}]`
	const doc = `"doc":{"_rev":"1-b96274b00b02813c5674b2cedc9064fa"`
	for _, test := range []struct {
		name, row string
		want      []string // beside web
	}{
		{"a large document", `{"seq":1,"id":"api",` + rev + `,` + doc + `,"a":"` + strings.Repeat("a", 1<<20) + `"}}`, []string{"api too large"}},
		{"a deep document", `{"seq":1,"id":"api",` + rev + `,` + doc + `,"a":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + `}}`, []string{"api too deep"}},
		{"a deep document of the wrong form", `{"seq":1,"id":"api",` + rev + `,"doc":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, []string{"api too deep"}},
		{"a large deletion", `{"seq":1,"id":"api","deleted":true,` + rev + `,` + doc + `,"a":"` + strings.Repeat("a", 1<<20) + `"}}`, []string{"api deleted"}},
		{"members in another order", `{` + doc + `,"a":"` + strings.Repeat("a", 1<<20) + `"},"id":"api",` + rev + `,"seq":[1,"x"]}`, []string{"api too large"}},
		{"brackets in a string", `{"seq":1,"id":"api",` + rev + `,` + doc + `,"a":"}]\"\\"}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"a member named doc in the document", `{"seq":1,"id":"api",` + rev + `,` + doc + `,"doc":{"doc":"` + strings.Repeat("a", 1000) + `"}}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"a document that is a number", `{"seq":1,"id":"_x",` + rev + `,"doc":7}`, nil},
		{"a document without a revision", `{"seq":1,"id":"_x",` + rev + `,"doc":{}}`, nil},
		{"a revision of the wrong type", `{"seq":1,"id":"_x",` + rev + `,"doc":{"_rev":7}}`, nil},
		{"a negative seq", `{"seq":-1,"id":"api",` + rev + `,` + doc + `}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"a seq that is an object", `{"seq":{"a":1},"id":"api",` + rev + `,` + doc + `}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"a huge seq", `{"seq":1e400,"id":"api",` + rev + `,` + doc + `}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"no seq", `{"id":"api",` + rev + `,` + doc + `}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"a huge number", `{"seq":1,"id":"api",` + rev + `,` + doc + `,"port":1` + strings.Repeat("0", 10_000) + `}}`, []string{"api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"the same document twice", strings.Repeat(`{"seq":1,"id":"api",`+rev+`,`+doc+`}},`, 2) + `{"seq":2,"id":"_design/x",` + rev + `}`,
			[]string{"api 1-b96274b00b02813c5674b2cedc9064fa", "api 1-b96274b00b02813c5674b2cedc9064fa"}},
		{"an id with a slash and no document", `{"seq":1,"id":"../../etc",` + rev + `}`, nil},
		{"an id of control characters and no document", `{"seq":1,"id":"a\r\nb\u0000",` + rev + `}`, nil},
		{"a local document", `{"seq":1,"id":"_local/a",` + rev + `,"doc":{}}`, nil},
	} {
		for _, where := range []string{changes, feed} {
			t.Run(where+": "+test.name, func(t *testing.T) {
				t.Parallel()
				body := untilEOF(`{"results":[` + test.row + "," + healthyRow + `],"last_seq":"1-x"}`)
				if where == feed {
					body = untilEOF(test.row + "\n" + healthyRow + "\n")
					if test.name == "the same document twice" {
						body = strings.ReplaceAll(body, "}},", "}}\n")
						body = strings.ReplaceAll(body, "},{", "}\n{")
					}
				}
				h := startHostile(t, where, says(body))
				s, err := open("http://"+h.address+"/services", time.Second, limitsFor(20*time.Second), func(string) {})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				take := func(c source.Change) error {
					what := c.Rev
					switch {
					case c.Deleted:
						what = "deleted"
					case len(c.Document) > definition.MaxSize:
						what = "too large"
					case bytes.Equal(c.Document, []byte(tooDeep)):
						what = "too deep"
					}
					got = append(got, string(c.Service)+" "+what)
					return nil
				}
				if where == changes {
					_, err = s.Pass(t.Context(), source.Position{}, nil, take)
				} else {
					err = s.Watch(t.Context(), source.Position{Since: "1-x"}, func(c source.Change, _ source.Position) error { return take(c) })
					if err != nil && err.Error() == errEnded.Error() {
						err = nil
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(append(test.want, "web 1-b96274b00b02813c5674b2cedc9064fa"), got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// What comes through the guard is what was sent, except for white space.
func FuzzRows(f *testing.F) {
	f.Add([]byte(`{"results":[`+healthyRow+`],"last_seq":1}`), false, 3)
	f.Add([]byte(healthyRow+"\n\n"+healthyRow), true, 7)
	f.Add([]byte(`{"a":"\"}{","doc":{"doc":[]}}`), true, 1)
	f.Fuzz(func(t *testing.T, data []byte, continuous bool, size int) {
		l := limitsFor(time.Hour)
		l.Document, l.Row, l.Skip, l.Depth, l.Rows = 100, 100, 1000, 10, 10
		r := newRows(io.NopCloser(bytes.NewReader(data)), continuous, l, func(err error) error { return err }, func() {})
		r.in = make([]byte, 1+max(0, size)%100)
		most := 0
		for p := make([]byte, 50); ; {
			n, err := r.Read(p)
			most = max(most, len(r.row))
			if n == 0 && err == nil {
				t.Fatal("nothing is read and nothing is wrong")
			}
			if err != nil {
				break
			}
		}
		if most > l.Document+l.Row+len(tooDeep) {
			t.Errorf("%d bytes were kept", most)
		}
	})
}
