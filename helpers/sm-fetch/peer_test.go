//go:build peer

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// peerVersion is the foreign server that the test talks to.
const peerVersion = "pouchdb-server@4.2.0"

// peer is a PouchDB server, which is like a CouchDB and none.
type peer struct {
	t       *testing.T
	program string
	address string
	server  *exec.Cmd
}

// startPeer installs the server with npm, once for all runs, and starts it.
func startPeer(t *testing.T) *peer {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "service-manager-tests", strings.ReplaceAll(peerVersion, "@", "-"))
	program := filepath.Join(dir, "node_modules", "pouchdb-server", "bin", "pouchdb-server")
	if _, err := os.Stat(program); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		install := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", peerVersion)
		if output, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm install %s: %v\n%s", peerVersion, err, output)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, program: program, address: listener.Addr().String()}
	listener.Close()
	p.start()
	t.Cleanup(p.stop)
	return p
}

// start starts the server with no databases: it has them in memory.
func (p *peer) start() {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(p.address)
	p.server = exec.Command("node", p.program, "--in-memory", "--no-stdout-logs", "--host", "127.0.0.1", "--port", port)
	p.server.Dir = p.t.TempDir()
	if err := p.server.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get("http://" + p.address + "/")
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not start: %v", err)
		}
	}
}

func (p *peer) stop() {
	p.server.Process.Kill()
	p.server.Wait()
}

// send sends a request that must succeed and returns the answer.
func (p *peer) send(method, path, body string) string {
	p.t.Helper()
	request, err := http.NewRequest(method, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		p.t.Fatalf("%s %s: %s %s %v", method, path, response.Status, answer, err)
	}
	return string(answer)
}

// put writes a definition over the revision rev, the empty string for none.
func (p *peer) put(service, rev, definition string) {
	p.t.Helper()
	if rev != "" {
		definition = fmt.Sprintf(`{"_rev": %q, %s`, rev, strings.TrimPrefix(definition, "{"))
	}
	p.send("PUT", "/services/"+service, definition)
}

func TestFollowPeer(t *testing.T) {
	p := startPeer(t)
	p.send("PUT", "/services", "")
	p.put("web", "", image("nginx:1"))
	m := newMachine(t)
	m.env["COUCHDB_URL"] = "http://" + p.address + "/services"
	m.follow()
	m.waitCurrent("web", 1)
	m.waitStatus("following http://" + p.address + "/services, 1 service")

	edit := func(service, image_ string) {
		t.Helper()
		current, _ := m.store.Current(service)
		p.put(service, current, image(image_))
	}
	edit("web", "nginx:2")
	m.waitCurrent("web", 2)
	p.put("api", "", image("api:1"))
	m.waitCurrent("api", 1)
	current, _ := m.store.Current("api")
	p.send("DELETE", "/services/api?rev="+current, "")
	m.waitGone("api")
	edit("web", "ng inx")
	m.eventually("the invalid revision is told", func() bool { return m.logged("must be an image reference") == 1 })

	// The server forgets everything; what comes then has as low a position, or the
	// same, and is seen.
	p.stop()
	m.waitStatus("serving from disk")
	p.start()
	m.waitStatus("the database does not exist")
	p.send("PUT", "/services", "")
	p.put("web", "", image("nginx:3"))
	m.waitCurrent("web", 1)
	m.waitStatus("following")

	// This server does not tell on its feed that the database is another one.
	was, _ := m.store.Current("web")
	p.send("DELETE", "/services", "")
	p.send("PUT", "/services", "")
	p.put("web", "", image("nginx:4"))
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if current, _ := m.store.Current("web"); current != was {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new database is not noticed")
		}
	}
	m.waitCurrent("web", 1)
	edit("web", "nginx:5")
	m.waitCurrent("web", 2)
	if _, stops := m.system.counts(); stops != 1 {
		t.Errorf("services were stopped %d times, want 1, for api", stops)
	}
}
