package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/couchdb/wiretest"
	"service-manager/units/name"
)

const (
	allChanges = "/services/_changes?include_docs=true"
	webRev2    = "2-ca00960e886a4df88ad719fb29018449"
	webRev3    = "3-fb43d26cb919111af4035f4fab03d8da"
	apiRev1    = "1-7767783f6c4a8aa32232b935102aa4fe"
)

func start(t *testing.T, server *wiretest.Server, heartbeat time.Duration) *Store {
	t.Helper()
	s, err := Open("http://admin:secret@"+server.Address+"/services", heartbeat, func(problem string) { t.Log(problem) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// heads are changes without their documents.
func heads(changes []source.Change) (heads []string) {
	for _, c := range changes {
		switch {
		case c.Deleted:
			heads = append(heads, string(c.Service)+" deleted")
		case !json.Valid(c.Document):
			heads = append(heads, string(c.Service)+" with a broken document")
		default:
			heads = append(heads, string(c.Service)+" "+c.Rev)
		}
	}
	return heads
}

func pass(t *testing.T, s *Store, from source.Position) (source.Snapshot, []string, error) {
	t.Helper()
	var changes []source.Change
	snapshot, err := s.Pass(t.Context(), from, nil, func(c source.Change) error {
		changes = append(changes, c)
		return nil
	})
	return snapshot, heads(changes), err
}

func TestPassThenWatch(t *testing.T) {
	server := wiretest.Start(t)
	server.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"2-g1AAA"`, "1763812960")})
	normal, continuous := wiretest.Load(t, "16"), wiretest.Load(t, "17")
	server.On(normal.Target, wiretest.Answer{Bytes: normal.Answer})
	server.On(continuous.Target, wiretest.Answer{Bytes: continuous.Answer, Then: make(chan []byte)})
	s := start(t, server, time.Second)

	snapshot, got, err := pass(t, s, source.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"web " + webRev2}, got); diff != "" {
		t.Error(diff)
	}
	if !snapshot.Present["web"] || snapshot.New || snapshot.Instance != "1763812960" {
		t.Errorf("got %+v", snapshot)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var changes []source.Change
	var positions []string
	err = s.Watch(ctx, snapshot.Position, func(c source.Change, p source.Position) error {
		changes = append(changes, c)
		positions = append(positions, string(p.Since[1:3]))
		if c.Deleted {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	want := []string{"web " + webRev3, "api " + apiRev1, "api deleted"}
	if diff := cmp.Diff(want, heads(changes)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"3-", "4-", "5-"}, positions); diff != "" {
		t.Error(diff)
	}
	if got := server.Header().Get("Accept-Encoding"); strings.Contains(got, "gzip") {
		t.Errorf("the feed was asked for in the encoding %q, which servers buffer", got)
	}
	const admin = "Basic YWRtaW46c2VjcmV0" // as in the recorded requests
	if got := server.Header().Get("Authorization"); got != admin {
		t.Errorf("the last request had the authorization %q, want %q", got, admin)
	}
}

func TestPass(t *testing.T) {
	normal, missing, bad, conflict := wiretest.Load(t, "16"), wiretest.Load(t, "03"), wiretest.Load(t, "20"), wiretest.Load(t, "24")
	since := func(position string) string { return allChanges + "&since=" + position }
	info := wiretest.Info(`"7-g1AAAACb"`, "1763812960")
	nothing := wiretest.Changes(t, `"7-x"`)

	for _, test := range []struct {
		name   string
		info   []byte
		from   source.Position
		target string // that is asked for first
		answer []byte
		want   []string
		error  string
		all    bool // the pass sees everything
	}{
		{"from the beginning", info, source.Position{}, allChanges, normal.Answer, []string{"web " + webRev2}, "", true},
		{"nothing new", info, source.Position{Since: "7-x"}, since("7-x"), nothing, nil, "", false},
		{"bad position", info, source.Position{Since: "7-nonsense"}, since("7-nonsense"), bad.Answer, []string{"web " + webRev2}, "", true},
		{"position ahead of the database", info, source.Position{Since: "12-x"}, allChanges, normal.Answer, []string{"web " + webRev2}, "", true},
		{"another database", info, source.Position{Since: "7-x", Instance: "5"}, allChanges, normal.Answer, []string{"web " + webRev2}, "", true},
		{"same database", info, source.Position{Since: "7-x", Instance: "1763812960"}, since("7-x"), nothing, nil, "", false},
		{"server without instances", wiretest.Info(`"7-x"`, "0"), source.Position{Since: "7-x", Instance: "5"}, since("7-x"), nothing, nil, "", false},
		{"a list", wiretest.Info(`[7,"x"]`, "0"), source.Position{Since: `[7,"x"]`}, since("%5B7%2C%22x%22%5D"), nothing, nil, "", false},
		{"a list that looks smaller", wiretest.Info(`[6,"x"]`, "0"), source.Position{Since: `[7,"x"]`}, since("%5B7%2C%22x%22%5D"), nothing, nil, "", false},
		{"a number beyond all", wiretest.Info("99999999999999999999999", "0"), source.Position{Since: `"x"`}, since("x"), nothing, nil, "", false},
		{"a text that ends in a quotation mark", info, source.Position{Since: `"7-x\""`}, since("7-x%22"), nothing, nil, "", false},
		{"plain numbers", wiretest.Info("7", "0"), source.Position{Since: "7"}, allChanges, normal.Answer, []string{"web " + webRev2}, "", true},
		{"no database", missing.Answer, source.Position{}, "", nil, nil, "the database does not exist", false},
		{"wrong password", wiretest.Load(t, "09").Answer, source.Position{}, "", nil, nil, "the server refuses this name and password; check COUCHDB_URL", false},
		{"winner of a conflict, deletion, design document", info, source.Position{}, allChanges, conflict.Answer,
			[]string{"api deleted", "web 3-ffffffffffffffffffffffffffffffff"}, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := wiretest.Start(t)
			server.On(allChanges, wiretest.Answer{Bytes: normal.Answer})
			server.On("/services", wiretest.Answer{Bytes: test.info})
			if test.target != "" {
				server.On(test.target, wiretest.Answer{Bytes: test.answer})
			}
			snapshot, got, err := pass(t, start(t, server, time.Second), test.from)
			if test.error != "" {
				if err == nil || err.Error() != test.error {
					t.Fatalf("got error %v, want %q", err, test.error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if requests := server.Requests(); requests[1] != test.target {
				t.Errorf("the changes were asked for by %s, want %s", requests[1], test.target)
			}
			if (snapshot.Present != nil) != test.all {
				t.Errorf("got %v as what is present", snapshot.Present)
			}
			if snapshot.Since == "" {
				t.Error("the pass has come to no position")
			}
		})
	}
}

func TestWatchEnds(t *testing.T) {
	deleted, timeout := wiretest.Load(t, "26"), wiretest.Load(t, "21")
	head, chunks := deleted.Split(t)
	fast := 50 * time.Millisecond
	const feed = "/services/_changes?feed=continuous&heartbeat=50&include_docs=true&since=8-x"
	const newest = "/services/_changes?descending=true&limit=1"
	silent := make(chan []byte)
	row := func(seq, rev string) []byte {
		return wiretest.Changes(t, "9", `{"seq":`+seq+`,"id":"web","changes":[{"rev":"`+rev+`"}]}`)
	}
	end := "0\r\n\r\n"
	info := wiretest.Info(`"8-x"`, "1")

	// beating keeps a feed alive that has nothing more to say.
	beating := func(t *testing.T) <-chan []byte {
		beats := make(chan []byte, 1000)
		go func() {
			ticker := time.NewTicker(fast)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					beats <- wiretest.Chunk("\n")
				case <-t.Context().Done():
					return
				}
			}
		}()
		return beats
	}

	for _, test := range []struct {
		name   string
		last   line
		info   []byte
		newest []byte
		answer func(t *testing.T) wiretest.Answer
		error  string
	}{
		{"database deleted", line{}, info, nil, func(*testing.T) wiretest.Answer { return wiretest.Answer{Bytes: deleted.Answer} },
			"the server ended the feed"},
		{"the feed's time is up", line{}, info, nil, func(*testing.T) wiretest.Answer { return wiretest.Answer{Bytes: timeout.Answer} },
			"the server ended the feed"},
		{"clean end without a last line", line{}, info, nil, func(*testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: append(append(bytes.Clone(head), chunks[0]...), end...)}
		}, "the server ended the feed"},
		{"connection cut", line{}, info, nil, func(*testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: append(bytes.Clone(head), chunks[0]...), Cut: true}
		}, "unexpected EOF"},
		{"connection cut within a row", line{}, info, nil, func(*testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: append(bytes.Clone(head), wiretest.Chunk(`{"seq":"9-x","id":"we`)...), Cut: true}
		}, "unexpected EOF"},
		{"no sign of life", line{}, info, nil, func(*testing.T) wiretest.Answer { return wiretest.Answer{Bytes: head, Then: silent} },
			"the server has said nothing for 150ms"},
		{"database gone, feed alive", line{}, wiretest.Load(t, "03").Answer, nil, func(t *testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: head, Then: beating(t)}
		}, "the database does not exist"},
		{"another database, feed alive", line{}, wiretest.Info(`"8-x"`, "2"), nil, func(t *testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: head, Then: beating(t)}
		}, "the store has been replaced"},
		{"younger database, feed alive", line{seq: "8"}, wiretest.Info("3", "1"), nil, func(t *testing.T) wiretest.Answer {
			return wiretest.Answer{Bytes: head, Then: beating(t)}
		}, "the store has been replaced"},
		{"another change in the same place, feed alive", line{"8", "web", webRev2}, wiretest.Info("8", "1"),
			row("8", webRev3), func(t *testing.T) wiretest.Answer {
				return wiretest.Answer{Bytes: head, Then: beating(t)}
			}, "the store has been replaced"},
		{"a change that does not come, feed alive", line{"8", "web", webRev2}, wiretest.Info("9", "1"),
			row("9", webRev3), func(t *testing.T) wiretest.Answer {
				return wiretest.Answer{Bytes: head, Then: beating(t)}
			}, "the store has been replaced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := wiretest.Start(t)
			server.On("/services", wiretest.Answer{Bytes: test.info})
			server.On(newest, wiretest.Answer{Bytes: test.newest})
			server.On(feed, test.answer(t))
			s := start(t, server, fast)
			s.read(test.last)
			if test.last == (line{}) {
				s.read(line{seq: "8-x"})
			}
			err := s.Watch(t.Context(), source.Position{Since: "8-x", Instance: "1"}, func(c source.Change, _ source.Position) error {
				t.Errorf("got %v", c)
				return nil
			})
			if err == nil || err.Error() != test.error {
				t.Errorf("got error %v, want %q", err, test.error)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	s, err := Open("http://admin:secret@127.0.0.1:1/services", time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = pass(t, s, source.Position{})
	if err == nil || err.Error() != "connection refused" {
		t.Errorf("got error %v, want \"connection refused\"", err)
	}
}

// A row without its document is completed by the newest one.
func TestRowWithoutDocument(t *testing.T) {
	server := wiretest.Start(t)
	server.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"8-x"`, "1")})
	server.On(allChanges, wiretest.Answer{Bytes: wiretest.Changes(t, `"8-x"`,
		`{"seq":"7-x","id":"web","changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}],"doc":null}`,
		`{"seq":"8-x","id":"gone","changes":[{"rev":"1-b96274b00b02813c5674b2cedc9064fa"}],"doc":null}`)})
	server.On("/services/web", wiretest.Answer{Bytes: wiretest.Load(t, "12").Answer})
	server.On("/services/gone", wiretest.Answer{Bytes: wiretest.Load(t, "06").Answer})
	_, got, err := pass(t, start(t, server, time.Second), source.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"web " + webRev2}, got); diff != "" {
		t.Error(diff)
	}
}

// Documents that cannot be services are reported, each once, and not without end.
func TestStrangeDocuments(t *testing.T) {
	var rows []string
	for i := range maxStrange + 10 {
		rows = append(rows, fmt.Sprintf(`{"seq":"%d-x","id":"No_%d","changes":[{"rev":%q}],"doc":{"_id":"No_%[2]d","_rev":%[3]q}}`, i+1, i, webRev2))
	}
	rows = append(rows, `{"seq":"98-x","id":"Gone","changes":[{"rev":"2-ca00960e886a4df88ad719fb29018449"}],"deleted":true}`,
		fmt.Sprintf(`{"seq":"99-x","id":"web","changes":[{"rev":%q}],"doc":{"_id":"web","_rev":%[1]q}}`, webRev2))
	server := wiretest.Start(t)
	server.On("/services", wiretest.Answer{Bytes: wiretest.Info(`"99-x"`, "1")})
	server.On(allChanges, wiretest.Answer{Bytes: wiretest.Changes(t, `"99-x"`, rows...)})
	var told []string
	s, err := Open("http://"+server.Address+"/services", time.Second, func(problem string) { told = append(told, problem) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		snapshot, got, err := pass(t, s, source.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || len(snapshot.Present) != 1 || !snapshot.Present["web"] {
			t.Errorf("handed over %q, present are %v", got, snapshot.Present)
		}
	}
	const first = `the document "No_0" in http://`
	if len(told) != maxStrange+1 || !strings.HasPrefix(told[0], first) || !strings.Contains(told[0], `is ignored: the name of a service must be made of a-z`) {
		t.Errorf("told %d times: %q", len(told), told)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("web", false, []byte(`{"_id":"web","_rev":"1-7767783f6c4a8aa32232b935102aa4fe","image":"a"}`))
	f.Add("web", true, []byte(`{"_id":"web","_rev":"2-61c2b59ae7c763629f3b2f05626cc3b3","_deleted":true}`))
	f.Add("web", false, []byte("null"))
	f.Add("web", false, []byte(`{"_rev":7}`))
	f.Fuzz(func(t *testing.T, service string, deleted bool, document []byte) {
		c := decode(name.Service(service), deleted, document)
		switch {
		case c == nil && deleted:
			t.Error("a deletion was dropped")
		case c == nil:
		case string(c.Service) != service || deleted && !c.Deleted:
			t.Errorf("got %+v", c)
		case !c.Deleted && (c.Rev == "" || !bytes.Equal(c.Document, document)):
			t.Errorf("got %+v", c)
		}
	})
}

func FuzzInstance(f *testing.F) {
	f.Add([]byte(`{"instance_start_time":"1763812960"}`))
	f.Add([]byte(`{"instance_start_time":0}`))
	f.Fuzz(func(t *testing.T, description []byte) {
		if instance := instanceOf(description); instance == "0" || len(instance) > 64 {
			t.Errorf("got %q", instance)
		}
	})
}

func TestSince(t *testing.T) {
	for _, test := range []struct {
		driver    string // as kivik has it
		since     source.Since
		parameter string
	}{
		{"", "", ""},
		{"7-g1AAA", `"7-g1AAA"`, "7-g1AAA"},
		{"7", "7", "7"},
		{`[7,"g1"]`, `[7,"g1"]`, `[7,"g1"]`},
		{`{"a":1}`, `{"a":1}`, `{"a":1}`},
		{`a\"b`, `"a\"b"`, `a"b`},
		{`a\`, `"a\\"`, `a\`},
		{"1e400", "1e400", "1e400"},
	} {
		got := sinceOf(test.driver)
		if got != test.since || parameter(got) != test.parameter {
			t.Errorf("%s: got %s, and back %s", test.driver, got, parameter(got))
		}
		if text, err := json.Marshal(source.Position{Since: got}); err != nil || got != "" && !strings.Contains(string(text), string(got)) {
			t.Errorf("%s: is written as %s, %v", test.driver, text, err)
		}
	}
	for _, test := range []struct {
		was, is source.Position
		want    bool
	}{
		{source.Position{Since: "9"}, source.Position{Since: "10"}, false},
		{source.Position{Since: "10"}, source.Position{Since: "9"}, true},
		{source.Position{Since: "99999999999999999999"}, source.Position{Since: "100000000000000000000"}, false},
		{source.Position{Since: `"10-x"`}, source.Position{Since: `"9-x"`}, false},
		{source.Position{Since: `[10]`}, source.Position{Since: "9"}, false},
		{source.Position{Since: "-3"}, source.Position{Since: "-7"}, false},
		{source.Position{Since: `"9-x"`, Instance: "1"}, source.Position{Since: `"9-x"`, Instance: "2"}, true},
	} {
		if got := recreated(test.was, test.is.Instance, test.is.Since); got != test.want {
			t.Errorf("from %v to %v: got %v", test.was, test.is, got)
		}
	}
}
