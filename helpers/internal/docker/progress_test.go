package docker

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// The streams in testdata are what dockerd 20.10.24 answered.
func TestReadProgress(t *testing.T) {
	stream, err := os.ReadFile("testdata/pull.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	var last Progress
	if err := readProgress(iotest.OneByteReader(bytes.NewReader(stream)), func(p Progress) {
		texts, last = append(texts, p.String()), p
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 of 1 layer",
		"0.0 of 0.0 MB, 1 of 3 layers",
		"30.0 MB, unpacking, 1 of 3 layers",
		"30.0 MB, unpacking, 2 of 3 layers",
		"30.0 of 30.0 MB, 3 of 3 layers",
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("no progress reads %q; got %q", want, texts)
		}
	}
	if got := last.Summary(); got != "30.0 MB, 3 layers" {
		t.Errorf("summary = %q", got)
	}
}

func TestReadProgressUpToDate(t *testing.T) {
	stream, err := os.Open("testdata/up-to-date.json")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := readProgress(stream, func(p Progress) { t.Errorf("progress %s of nothing", p) }); err != nil {
		t.Fatal(err)
	}
	if got := (Progress{}).Summary(); got != "it was up to date" {
		t.Errorf("summary = %q", got)
	}
}

func TestProgressMoves(t *testing.T) {
	const downloading3 = `{"status":"Downloading","progressDetail":{"current":3,"total":9},"id":"a"}`
	for _, test := range []struct {
		name, stream string
		moves        int
	}{
		{"repeated", downloading3 + downloading3, 1},
		{"retried", downloading3 + `{"status":"Retrying in 5 seconds","id":"a"}` + `{"status":"Downloading","progressDetail":{"current":1,"total":9},"id":"a"}`, 1},
		{"grows", downloading3 + `{"status":"Downloading","progressDetail":{"current":4,"total":9},"id":"a"}`, 2},
		{"next stage", downloading3 + `{"status":"Download complete","id":"a"}`, 2},
		{"back again", `{"status":"Pull complete","id":"a"}` + downloading3, 2},
		{"a tag is no layer", `{"status":"Pulling from library/nginx","id":"1.27"}`, 0},
	} {
		moves := 0
		if err := readProgress(strings.NewReader(test.stream), func(Progress) { moves++ }); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if moves != test.moves {
			t.Errorf("%s: moved %d times; want %d", test.name, moves, test.moves)
		}
	}
}

func TestReadProgressErrors(t *testing.T) {
	none := func(Progress) {}
	err := readProgress(strings.NewReader(`{"status":"Pulling from x"}`+"\n"+`{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}`), none)
	if err == nil || err.Error() != "unexpected EOF" || unreachable(err) {
		t.Errorf("an error that the daemon reports = %v; want it told, and not taken for one of the connection", err)
	}
	err = readProgress(strings.NewReader(`{"status":"Pulling fr`), none)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !unreachable(err) {
		t.Errorf("a stream that is cut off = %v; want a daemon that cannot be reached", err)
	}
}

func FuzzReadProgress(f *testing.F) {
	stream, err := os.ReadFile("testdata/pull.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stream)
	f.Add([]byte(`{"status":"Downloading","progressDetail":{"current":-9,"total":9223372036854775807},"id":"a"}{"error":"x"}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		moves := 0
		_ = readProgress(bytes.NewReader(stream), func(p Progress) {
			moves++
			if p.String() == "" || strings.Contains(p.Summary(), "\n") {
				t.Errorf("progress reads %q, %q", p.String(), p.Summary())
			}
		})
		if lines := bytes.Count(stream, []byte("{")); moves > lines {
			t.Errorf("%d moves in at most %d messages", moves, lines)
		}
	})
}
