package couchdb

import (
	"fmt"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	encode, form := errEncode.Error(), errForm.Error()
	for _, test := range []struct{ url, name, error string }{
		{"http://admin:secret@127.0.0.1:5984/services", "http://127.0.0.1:5984/services", ""},
		{"https://couch.example/prefix/services/", "https://couch.example/prefix/services", ""},
		{"http://127.0.0.1:5984/a%2Fb", "http://127.0.0.1:5984/a%2Fb", ""},
		{"http://admin:sec@ret@127.0.0.1:5984/services", "http://127.0.0.1:5984/services", ""},
		{"http://admin:se%2Fcret%23@127.0.0.1:5984/services", "http://127.0.0.1:5984/services", ""},
		{"http://[::1]:5984/services", "http://[::1]:5984/services", ""},
		// A password that is not encoded.
		{"http://admin:sec/ret@127.0.0.1:5984/services", "", encode},
		{"http://admin:1/secret@127.0.0.1:5984/services", "", encode},
		{"http://admin:1/secret@db@127.0.0.1:5984/services", "", encode},
		{"http://admin:sec#ret@127.0.0.1:5984/services", "", encode},
		{"http://admin:1#secret@127.0.0.1:5984/services", "", encode},
		{"http://admin:1?secret@127.0.0.1:5984/services", "", encode},
		{"http://admin:se cret%zz@127.0.0.1/services", "", encode},
		{"http://admin:secret@127.0.0.1:5984/%zz", "", encode},
		{"http://admin:secret/services", "", encode},
		{"http://admin:sec\x00ret@127.0.0.1/services", "", encode},
		{"http://admin:sec\nret@127.0.0.1/services", "", encode},
		{"http://127.0.0.1/services#secret", "", form},
		{"http://127.0.0.1/services?secret", "", form},
		{"http://127.0.0.1/services?", "", form},
		{"http://admin:secret@127.0.0.1:5984", "", form},
		{"http://admin:secret@/services", "", form},
		{"127.0.0.1:5984/services", "", form},
		{"ftp://secret@127.0.0.1/services", "", form},
		{"admin:secret", "", form},
		{"", "", form},
	} {
		s, err := Open(test.url, 0, nil)
		switch {
		case test.error != "":
			if err == nil || err.Error() != test.error {
				t.Errorf("%s: got error %v, want %q", test.url, err, test.error)
			}
		case err != nil:
			t.Errorf("%s: %v", test.url, err)
		case s.Name() != test.name:
			t.Errorf("%s: got the name %s, want %s", test.url, s.Name(), test.name)
		}
		if err != nil && strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: the error %q gives the password away", test.url, err)
		}
	}
}

// Whatever is in the password, no error and no name has it.
func FuzzOpen(f *testing.F) {
	for _, password := range []string{"a/b", "a#b", "a@b", "a?b", "a%2", "1/2", "[::1]", "a:b", "\\", " "} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		const mark = "marker"
		s, err := Open(fmt.Sprintf("http://admin:%s%s%s@127.0.0.1:5984/services", password, mark, password), 0, nil)
		if err != nil && strings.Contains(err.Error(), mark) {
			t.Errorf("the error %q gives the password away", err)
		}
		if err == nil && s.Name() != "http://127.0.0.1:5984/services" {
			t.Errorf("got the name %q", s.Name())
		}
	})
}
