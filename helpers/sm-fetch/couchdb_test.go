package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"service-manager/helpers/sm-fetch/follow"
	"service-manager/helpers/sm-fetch/source/couchdb/wiretest"
	"service-manager/units/name"
)

const (
	webRev2 = "2-ca00960e886a4df88ad719fb29018449"
	webRev3 = "3-fb43d26cb919111af4035f4fab03d8da"
)

// couch is a CouchDB that answers a machine's sm-fetch as it once answered: first
// with all changes, then with one more for each value that feed takes.
type couch struct {
	*wiretest.Server
	feed         chan []byte
	all          string // target for all changes
	continuation string // target of the feed behind them
	normal       wiretest.Recording
	head         []byte
	changes      [][]byte // of the feed: web, api, api's deletion, a design document
}

func startCouch(t *testing.T, m *machine) *couch {
	c := &couch{Server: wiretest.Start(t), feed: make(chan []byte, 100), normal: wiretest.Load(t, "16")}
	c.all = c.normal.Target
	continuous := wiretest.Load(t, "17")
	c.continuation = strings.Replace(continuous.Target, "heartbeat=1000&", "heartbeat=10000&", 1)
	head, chunks := continuous.Split(t)
	c.head = head
	for _, chunk := range chunks {
		if bytes.Contains(chunk, []byte("seq")) {
			c.changes = append(c.changes, chunk)
		}
	}
	if len(c.changes) != 4 {
		t.Fatalf("the recorded feed has %d changes, want 4", len(c.changes))
	}
	c.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"2-g1AAAAB5eJz"`, "1763812960")})
	c.On(c.all, wiretest.Answer{Bytes: c.normal.Answer})
	c.On(c.continuation, wiretest.Answer{Bytes: head, Then: c.feed})
	m.env["COUCHDB_URL"] = "http://admin:secret@" + c.Address + "/services"
	return c
}

// A life of a host whose store is a CouchDB, phase by phase.
func TestFollowCouchDB(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := startCouch(t, m)
	stop := m.follow()
	m.waitReady()
	m.waitStatus("following http://" + c.Address + "/services, 1 service")
	m.waitCurrent("web", 2)
	m.waitReloads(1)

	c.feed <- c.changes[0]
	m.waitCurrent("web", 3)
	m.waitReloads(2)
	c.feed <- c.changes[1]
	m.waitCurrent("api", 1)
	m.waitReloads(3)

	// The feed starts over: nothing happens.
	c.feed <- c.changes[0]
	c.feed <- c.changes[1]
	c.feed <- c.changes[3] // nor for a design document
	c.feed <- c.changes[2]
	m.waitGone("api")
	m.waitReloads(4)
	if current, _ := m.store.Current("web"); current != webRev3 {
		t.Errorf("web is at %s, want %s", current, webRev3)
	}
	for _, rev := range []name.Rev{webRev2, webRev3} {
		if _, err := os.Stat(m.store.Path(name.Revision{Service: "web", Rev: rev})); err != nil {
			t.Error(err)
		}
	}
	stop()

	// The position is on disk, without the password.
	state, err := os.ReadFile(follow.StatePath(m.store.Root))
	if err != nil || !strings.Contains(string(state), `"since":"5-`) || strings.Contains(string(state), "secret") {
		t.Errorf("got the state %s, %v", state, err)
	}
	if m.logged("secret") > 0 || strings.Contains(m.status, "secret") {
		t.Error("the password was told")
	}
}

// A database that is missing, or was recreated, stops nothing.
func TestDatabaseComesBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := startCouch(t, m)
	stop := m.follow()
	m.waitCurrent("web", 2)

	missing := wiretest.Load(t, "03")
	_, ending := wiretest.Load(t, "26").Split(t)
	c.On("/services", wiretest.Answer{Bytes: missing.Answer})
	for _, chunk := range ending {
		c.feed <- chunk
	}
	close(c.feed)
	m.waitStatus("cannot read http://" + c.Address + "/services: the database does not exist; next try in")
	m.waitStatus("serving from disk")

	// It comes back with another winner of a lower generation, at a lower position,
	// and without api.
	rows := wiretest.Changes(t, `"1-x"`,
		`{"seq":"1-x","id":"web","changes":[{"rev":"1-7767783f6c4a8aa32232b935102aa4fe"}],"doc":{"_id":"web","_rev":"1-7767783f6c4a8aa32232b935102aa4fe","image":"nginx:9","address":"172.17.0.1:7001","port":80}}`)
	c.On(c.all, wiretest.Answer{Bytes: rows})
	c.On("/services/_changes?feed=continuous&heartbeat=10000&include_docs=true&since=1-x", wiretest.Answer{Bytes: c.head, Then: make(chan []byte)})
	c.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"1-x"`, "1763899999")})
	m.waitCurrent("web", 1)
	m.waitStatus("following")
	if _, stops := m.system.counts(); stops != 0 {
		t.Errorf("services were stopped %d times", stops)
	}
	stop()
}

// Without its store a host starts from disk.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.env["COUCHDB_URL"] = "http://admin:secret@127.0.0.1:1/services"
	stop := m.follow()
	m.waitReady()
	m.waitStatus("cannot read http://127.0.0.1:1/services: connection refused; next try in")
	stop()
	if n := m.logged("cannot read"); n != 1 {
		t.Errorf("the trouble was told %d times", n)
	}
	err := m.once()
	if err == nil || err.Error() != "cannot read http://127.0.0.1:1/services: connection refused" {
		t.Errorf("got error %v", err)
	}
}

// A deletion in the feed that is followed by a newer revision of the same document is
// ignored.
func TestDeletionOvertaken(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := startCouch(t, m)
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	rows := wiretest.Changes(t, `"5-x"`,
		`{"seq":"3-x","id":"web","changes":[{"rev":"3-61c2b59ae7c763629f3b2f05626cc3b3"}],"deleted":true,"doc":{"_id":"web","_rev":"3-61c2b59ae7c763629f3b2f05626cc3b3","_deleted":true}}`,
		`{"seq":"4-x","id":"web","changes":[{"rev":"4-7767783f6c4a8aa32232b935102aa4fe"}],"doc":{"_id":"web","_rev":"4-7767783f6c4a8aa32232b935102aa4fe","image":"nginx:4","address":"172.17.0.1:7001","port":80}}`,
		`{"seq":"5-x","id":"never","changes":[{"rev":"2-61c2b59ae7c763629f3b2f05626cc3b3"}],"deleted":true}`)
	c.On(c.all, wiretest.Answer{Bytes: rows})
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.waitCurrent("web", 4)
	if _, stops := m.system.counts(); stops != 0 {
		t.Errorf("services were stopped %d times", stops)
	}
}

// A database that has once deleted a service of the same name does not stop one from
// another store.
func TestSwitchToCouchDB(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("api", image("api:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	c := startCouch(t, m)
	rows := wiretest.Changes(t, `"2-x"`,
		`{"seq":"2-x","id":"api","changes":[{"rev":"2-61c2b59ae7c763629f3b2f05626cc3b3"}],"deleted":true,"doc":{"_id":"api","_rev":"2-61c2b59ae7c763629f3b2f05626cc3b3","_deleted":true}}`)
	c.On(c.all, wiretest.Answer{Bytes: rows})
	for range 2 {
		if err := m.once(); err != nil {
			t.Fatal(err)
		}
	}
	m.waitCurrent("api", 1)
	if _, stops := m.system.counts(); stops != 0 {
		t.Errorf("services were stopped %d times", stops)
	}
	if n := m.logged("api: http://" + c.Address + "/services does not have it; it stays"); n != 1 {
		t.Errorf("the service that stays was told %d times", n)
	}
}
