//go:build peer

package couchdb

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/sourcetest"
	"service-manager/tests/pouchdb"
)

// A server that speaks the protocol, and what CouchDB's users do to it.
func TestSource(t *testing.T) {
	server := pouchdb.Start(t, "")
	sourcetest.Run(t, func(t *testing.T) sourcetest.Backend {
		return &backend{t, server, "/db-" + url.PathEscape(time.Now().Format("150405.000000000"))}
	})
}

type backend struct {
	t      *testing.T
	server *pouchdb.Server
	path   string // of the database
}

func (b *backend) Create() { b.server.Send(http.MethodPut, b.path, "") }
func (b *backend) Drop()   { b.server.Send(http.MethodDelete, b.path, "") }
func (b *backend) Delete(id string) {
	b.server.Send(http.MethodDelete, b.path+"/"+id+"?rev="+b.rev(id), "")
}
func (b *backend) Put(id, document string) {
	b.server.Put(b.path+"/"+id, b.rev(id), document)
}

// rev returns the revision of a document, empty when there is none.
func (b *backend) rev(id string) string {
	b.t.Helper()
	response, err := http.Get("http://" + b.server.Address + b.path + "/" + id)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var document struct {
		Rev string `json:"_rev"`
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		b.t.Fatal(err)
	}
	return document.Rev
}

func (b *backend) Open(report func(string)) source.Store {
	b.t.Helper()
	s, err := Open("http://"+b.server.Address+b.path, time.Second, report)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}
