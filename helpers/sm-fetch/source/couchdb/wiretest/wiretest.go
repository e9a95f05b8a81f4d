// Package wiretest serves answers of a CouchDB 3.5.0, byte for byte, to tests of clients.
// Its server knows nothing about databases: it follows a script.
package wiretest

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

//go:embed testdata
var testdata embed.FS

// Recording is one request that was sent to a CouchDB, and its answer.
type Recording struct {
	Target string // of the request, as in its first line
	Answer []byte
}

// Load returns the recording with that number, like "16".
func Load(t testing.TB, number string) Recording {
	t.Helper()
	entries, err := testdata.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), number+"-") {
			text, err := testdata.ReadFile("testdata/" + entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			return parse(t, text)
		}
	}
	t.Fatalf("there is no recording %s", number)
	panic("unreachable")
}

func parse(t testing.TB, text []byte) Recording {
	t.Helper()
	_, text, _ = bytes.Cut(text, []byte(">>>>>> request\n"))
	request, answer, found := bytes.Cut(text, []byte("\n<<<<<< response\n"))
	words := strings.Fields(string(request))
	if !found || len(words) < 2 {
		t.Fatal("a recording has no request and answer")
	}
	return Recording{Target: words[1], Answer: bytes.TrimSuffix(answer, []byte("\n"))}
}

// Split returns the head of a chunked answer and its chunks, each ready to be
// sent.
func (r Recording) Split(t testing.TB) (head []byte, chunks [][]byte) {
	t.Helper()
	head, rest, found := bytes.Cut(r.Answer, []byte("\r\n\r\n"))
	if !found {
		t.Fatal("the answer has no end of its head")
	}
	head = append(bytes.Clone(head), "\r\n\r\n"...)
	for len(rest) > 0 {
		var size int
		if _, err := fmt.Sscanf(string(rest), "%x\r\n", &size); err != nil {
			t.Fatalf("a chunk has no size: %v", err)
		}
		end := bytes.Index(rest, []byte("\r\n")) + 2 + size + 2
		chunks = append(chunks, rest[:end])
		rest = rest[end:]
	}
	return head, chunks
}

// Chunk returns text as one chunk of an answer.
func Chunk(text string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(text), text) }

// Info returns an answer that describes a database.
func Info(seq, instance string) []byte {
	body := fmt.Sprintf(`{"db_name":"services","update_seq":%s,"instance_start_time":%q}`+"\n", seq, instance)
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Changes returns an answer with these rows as all the changes of a database.
func Changes(t testing.TB, lastSeq string, rows ...string) []byte {
	head, _ := Load(t, "16").Split(t)
	body := `{"results":[` + "\n" + strings.Join(rows, ",\r\n") + "\n],\n" + `"last_seq":` + lastSeq + `,"pending":0}`
	return append(append(bytes.Clone(head), Chunk(body)...), "0\r\n\r\n"...)
}

// Answer is what a server does about a request: it sends Bytes, and Then the parts
// as they come, until that channel is closed or the client goes.
type Answer struct {
	Bytes []byte
	Then  <-chan []byte
	Cut   bool // close the connection then, whatever the head says
}

// Server answers requests by a script.
type Server struct {
	Address string
	t       testing.TB

	mu       sync.Mutex
	script   map[string][]Answer
	requests []string
	headers  []http.Header
}

// Start starts a server on a free port of the loopback interface. It ends with
// the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, script: make(map[string][]Answer)}
	s.Address = Listen(t, s.serve)
	return s
}

// Listen serves each connection to a free port of the loopback interface, until the
// test ends, which closes those that are open. It returns host:port.
func Listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	var served sync.WaitGroup
	served.Add(1)
	go func() {
		defer served.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			served.Add(1)
			go func() {
				defer served.Done()
				serve(conn)
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			}()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		served.Wait()
	})
	return listener.Addr().String()
}

// On sets the answers to GET requests for a target. Each is used once, and the last one
// from then on.
func (s *Server) On(target string, answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script[target] = answers
}

// Requests returns the targets of all requests so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// Header returns the header of the last request.
func (s *Server) Header() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.headers) == 0 {
		return nil
	}
	return s.headers[len(s.headers)-1]
}

func (s *Server) serve(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		answer, ok := s.take(request)
		if !ok {
			s.t.Errorf("the script has no answer to %s %s", request.Method, request.RequestURI)
			return
		}
		if _, err := conn.Write(answer.Bytes); err != nil {
			return
		}
		if answer.Then != nil {
			forward(conn, reader, answer.Then)
			return
		}
		if answer.Cut || bytes.Contains(answer.Bytes, []byte("Connection: close")) {
			return
		}
	}
}

// forward sends what comes, until nothing more does or the client has gone.
func forward(conn net.Conn, reader *bufio.Reader, parts <-chan []byte) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = reader.Peek(1)
	}()
	for {
		select {
		case <-gone:
			return
		case part, ok := <-parts:
			if !ok {
				return
			}
			if _, err := conn.Write(part); err != nil {
				return
			}
		}
	}
}

func (s *Server) take(request *http.Request) (Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request.RequestURI)
	s.headers = append(s.headers, request.Header)
	answers := s.script[request.RequestURI]
	if len(answers) == 0 || request.Method != http.MethodGet {
		return Answer{}, false
	}
	if len(answers) > 1 {
		s.script[request.RequestURI] = answers[1:]
	}
	return answers[0], true
}
