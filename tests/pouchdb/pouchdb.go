// Package pouchdb runs npm's pouchdb-server for tests: a server that is not
// CouchDB and speaks its protocol. It needs node and npm, and the first time also
// npm's registry.
package pouchdb

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const version = "pouchdb-server@4.2.0"

// A Server listens on one loopback address, also when it is started again.
type Server struct {
	Address string // host:port

	t       testing.TB
	program string
	folder  string // of the databases; in memory when empty
	process *exec.Cmd
}

// Start starts a server that ends with the test. Its databases are in the folder,
// or, when that is empty, in memory, where they end with each Stop.
func Start(t testing.TB, folder string) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, program: install(t), folder: folder, Address: listener.Addr().String()}
	listener.Close()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// install installs the server in the user's cache, once, and returns its path.
func install(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(cache, "service-manager-tests")
	folder := filepath.Join(parent, strings.ReplaceAll(version, "@", "-"))
	program := filepath.Join(folder, "node_modules", "pouchdb-server", "bin", "pouchdb-server")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	// Whole or not at all, also when npm is interrupted.
	building, err := os.MkdirTemp(parent, ".building-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(building)
	npm := exec.Command("npm", "install", "--prefix", building, "--no-audit", "--no-fund", "--ignore-scripts", version)
	if output, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", version, err, output)
	}
	if err := os.Rename(building, folder); err != nil {
		if _, err := os.Stat(program); err != nil { // nor has another process installed it meanwhile
			t.Fatal(err)
		}
	}
	return program
}

// Start starts the server again after Stop, and returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	s.process = exec.Command("node", s.program, "--no-stdout-logs", "--host", "127.0.0.1", "--port", port)
	s.process.Dir = s.folder
	if s.folder == "" {
		s.process.Args = append(s.process.Args, "--in-memory")
		s.process.Dir = s.t.TempDir()
	}
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test, which ends it
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get("http://" + s.Address + "/")
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s does not answer: %v", version, err)
		}
	}
}

// Stop kills the server.
func (s *Server) Stop() {
	s.process.Process.Kill()
	s.process.Wait()
}

// Send sends a request that must succeed, such as "PUT", "/services", and returns
// the answer.
func (s *Server) Send(method, path, body string) string {
	s.t.Helper()
	request, err := http.NewRequest(method, "http://"+s.Address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %s %s %v", method, path, response.Status, answer, err)
	}
	return string(answer)
}

// Put writes a document, such as "/services/web", over the revision rev (the
// empty string for none) and returns its new revision.
func (s *Server) Put(path, rev, document string) string {
	s.t.Helper()
	if rev != "" {
		document = fmt.Sprintf(`{"_rev": %q, %s`, rev, strings.TrimPrefix(document, "{"))
	}
	answer := s.Send("PUT", path, document)
	var is struct{ Rev string }
	if err := json.Unmarshal([]byte(answer), &is); err != nil || is.Rev == "" {
		s.t.Fatalf("PUT %s: %q: %v", path, answer, err)
	}
	return is.Rev
}
