//go:build peer

package main

import (
	"testing"
	"time"

	"service-manager/tests/pouchdb"
	"service-manager/units/name"
)

// A server that resembles CouchDB but is none.
func TestFollowPeer(t *testing.T) {
	p := pouchdb.Start(t, "")
	p.Send("PUT", "/services", "")
	p.Put("/services/web", "", image("nginx:1"))
	m := newMachine(t)
	m.env["COUCHDB_URL"] = "http://" + p.Address + "/services"
	m.follow()
	m.waitCurrent("web", 1)
	m.waitStatus("following http://" + p.Address + "/services, 1 service")

	edit := func(service name.Service, image_ string) {
		t.Helper()
		current, _ := m.store.Current(service)
		p.Put("/services/"+string(service), string(current), image(image_))
	}
	edit("web", "nginx:2")
	m.waitCurrent("web", 2)
	p.Put("/services/api", "", image("api:1"))
	m.waitCurrent("api", 1)
	current, _ := m.store.Current("api")
	p.Send("DELETE", "/services/api?rev="+string(current), "")
	m.waitGone("api")
	edit("web", "ng inx")
	m.eventually("the invalid revision is told", func() bool { return m.logged("must be an image reference") == 1 })

	// The server forgets everything; what comes then has as low a position, or the
	// same, and is seen.
	p.Stop()
	m.waitStatus("serving from disk")
	p.Start()
	m.waitStatus("the database does not exist")
	p.Send("PUT", "/services", "")
	p.Put("/services/web", "", image("nginx:3"))
	m.waitCurrent("web", 1)
	m.waitStatus("following")

	// The feed of this server does not say that the database is another one.
	was, _ := m.store.Current("web")
	p.Send("DELETE", "/services", "")
	p.Send("PUT", "/services", "")
	p.Put("/services/web", "", image("nginx:4"))
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
