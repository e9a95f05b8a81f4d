package couchdb

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-kivik/kivik/v4"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/couchdb/wiretest"
)

// The password goes to no host but the one that the operator has named.
func TestRedirect(t *testing.T) {
	elsewhere := wiretest.Start(t) // fails the test when it is asked for anything
	for _, target := range []string{"/services", allChanges, "/services/web"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprintf("%s %d", target, status), func(t *testing.T) {
				server := wiretest.Start(t)
				server.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"8-x"`, "1")})
				server.On(allChanges, wiretest.Answer{Bytes: wiretest.Changes(t, `"8-x"`,
					`{"seq":"7-x","id":"web","changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}],"doc":null}`)})
				server.On(target, wiretest.Answer{Bytes: fmt.Appendf(nil,
					"HTTP/1.1 %d Go\r\nLocation: http://admin:secret@%s/there?secret#secret\r\nContent-Length: 0\r\n\r\n", status, elsewhere.Address)})
				_, _, err := pass(t, start(t, server, time.Second), source.Position{})
				want := "the server redirects to http://" + elsewhere.Address + "/there; no redirect is followed; if that is the database, name it in COUCHDB_URL"
				if err == nil || err.Error() != want {
					t.Errorf("got error %v, want %q", err, want)
				}
			})
		}
	}
	for _, test := range []struct{ location, want string }{
		{"/services/", "/services/"},
		{"//other.example/services", "//other.example/services"},
		{"https://couch.example\x1b[2J", "a URL that cannot be understood"},
		{"http://host/" + strings.Repeat("a", 3000), "a URL that cannot be understood"},
	} {
		if got := location(test.location); got != test.want {
			t.Errorf("%q: got %q, want %q", test.location, got, test.want)
		}
	}
}

// A server, or what stands before it, may send back what it was sent.
func TestCredentialsComeBack(t *testing.T) {
	const password = "p/ss@w#rd"
	for _, reason := range []string{password, "p%2Fss%40w%23rd", "YWRtaW46cC9zc0B3I3Jk", "admin:p%2Fss%40w%23rd@host"} {
		server := wiretest.Start(t)
		body := fmt.Sprintf(`{"error":"x","reason":"you sent %s\r\nMAINPID=1\u001b[2J"}`, reason)
		server.On("/services", wiretest.Answer{Bytes: fmt.Appendf(nil,
			"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)})
		s, err := Open("http://admin:p%2Fss%40w%23rd@"+server.Address+"/services", time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = pass(t, s, source.Position{})
		if err == nil || !strings.HasPrefix(err.Error(), "the server answers 500, internal server error: you sent ***") &&
			!strings.HasPrefix(err.Error(), "the server answers 500, internal server error: you sent admin:***") {
			t.Fatalf("got error %v", err)
		}
		if text := err.Error(); strings.ContainsAny(text, "\r\n\x1b") || strings.Contains(text, reason) {
			t.Errorf("got error %q", err)
		}
	}
}

// A text is cut after the credentials in it are replaced: a half of them would not be
// recognized.
func TestCredentialsAtTheCut(t *testing.T) {
	const password = "p/ss@w#rd"
	for _, answer := range []string{
		"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"reason\":\"%sp/ss@w#rd\"}",
		"HTTP/1.1 302 Found\r\nLocation: http://couch.example/%[2]sp%%2Fss@w%%23rd\r\nContent-Length: 0\r\n\r\n",
	} {
		for before := 200; before < 310; before++ {
			server := wiretest.Start(t)
			padding := strings.Repeat("x", before)
			server.On("/services", wiretest.Answer{Bytes: fmt.Appendf(nil, answer, len(`{"reason":""}`)+len(padding)+len(password), padding)})
			s, err := Open("http://admin:p%2Fss%40w%23rd@"+server.Address+"/services", time.Second, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = pass(t, s, source.Position{})
			if err == nil || !strings.Contains(err.Error(), padding[:200]) {
				t.Fatalf("got error %v", err)
			}
			if strings.Contains(err.Error(), "xp") {
				t.Errorf("after %d letters: got error %v", before, err)
			}
		}
	}
}

// By its status, a position is known that the server does not understand.
func TestLongReasonKeepsItsStatus(t *testing.T) {
	err := (&Store{}).explain(&statusError{http.StatusBadRequest, strings.Repeat("\n", 1000)})
	if status := kivik.HTTPStatus(err); status != http.StatusBadRequest || len([]rune(err.Error())) > 400 {
		t.Errorf("got status %d of the error %q", status, err)
	}
}
