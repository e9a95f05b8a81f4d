package couchdb

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// What replaces a document in a change when it is too much for this host. The service has
// an invalid newest revision then; the others are not disturbed.
const (
	tooLarge = `"larger than a definition may be"`
	tooDeep  = `"nested deeper than a definition may be"`
)

// rows passes on the answer to a request for changes, change by change, as long as it
// keeps within its limits. It reads structure only: what is not JSON is left to the
// driver.
type rows struct {
	body       io.ReadCloser
	continuous bool
	limits     limits
	why        func(error) error // of a read that failed
	release    func()

	in  []byte // a buffer for reading
	row []byte // of the change that has come in part
	out []byte // to be handed over
	err error  // after that

	depth      int // of brackets
	top        int // how deep changes begin
	quoted     bool
	escaped    bool
	open       bool // within a change
	name       bool // the next string at the top of the change is the name of a member
	nameAt     int  // where it began
	document   int  // where the document begins in row, 0 outside
	substitute string
	skipped    int
	outside    int // bytes beside changes since the last one
	blank      int // of white space, of a feed in this window
	count      int // changes

	waited time.Duration // for the server, in this window
	got    int           // bytes, in this window
}

func newRows(body io.ReadCloser, continuous bool, l limits, why func(error) error, release func()) *rows {
	top := 2 // {"results":[
	if continuous {
		top = 0
	}
	return &rows{body: body, continuous: continuous, limits: l, why: why, release: release, top: top, in: make([]byte, 16<<10)}
}

func (r *rows) Close() error {
	r.release()
	return r.body.Close()
}

func (r *rows) Read(p []byte) (int, error) {
	for len(r.out) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.out) > 0 {
		n := copy(p, r.out)
		r.out = r.out[n:]
		return n, nil
	}
	return 0, r.err
}

// fill reads once from the server.
func (r *rows) fill() {
	r.out = r.out[:0]
	began := time.Now()
	n, err := r.body.Read(r.in)
	r.waited += time.Since(began)
	r.got += n
	for _, c := range r.in[:n] {
		if r.err = r.next(c); r.err != nil {
			return
		}
	}
	switch {
	case err == io.EOF && r.open:
		r.err = io.ErrUnexpectedEOF
	case err == io.EOF:
		r.err = err
	case err != nil:
		r.err = r.why(err)
	default:
		r.err = r.progress()
	}
}

// progress returns an error when the server takes too long over a list, or over
// one change of a feed. Between changes a feed may be slow.
func (r *rows) progress() error {
	if r.waited < r.limits.Window {
		return nil
	}
	r.blank = 0
	if r.continuous && !r.open && r.outside == 0 {
		r.waited, r.got = 0, 0
		return nil
	}
	if r.got < r.limits.Progress {
		return fmt.Errorf("the server has sent only %d bytes of its changes in %v", r.got, r.waited.Round(time.Second/10))
	}
	r.waited, r.got = 0, 0
	return nil
}

// next takes one byte.
func (r *rows) next(c byte) error {
	if !r.open {
		return r.between(c)
	}
	top := r.depth == r.top+1
	if top && !r.quoted && (c == ',' || c == '}') {
		r.endDocument()
	}
	if err := r.keep(c); err != nil {
		return err
	}
	switch {
	case r.escaped:
		r.escaped = false
	case r.quoted && c == '\\':
		r.escaped = true
	case r.quoted && c == '"':
		r.quoted = false
		if top && r.name && string(r.row[r.nameAt:]) == `"doc"` {
			r.document = -1 // after the colon
		}
		r.name = r.name && !top
	case r.quoted:
	case c == '"':
		r.quoted = true
		r.nameAt = len(r.row) - 1
	case c == ',' && top:
		r.name = true
	case c == ':' && top && r.document < 0:
		r.document = len(r.row)
	case c == '{' || c == '[':
		r.depth++
		if r.depth-r.top > r.limits.Depth {
			if r.document <= 0 {
				return fmt.Errorf("the server sends a change that is nested deeper than %d", r.limits.Depth)
			}
			r.replace(tooDeep)
		}
	case c == '}' || c == ']':
		r.depth--
		if r.depth == r.top {
			return r.end()
		}
	}
	return nil
}

// keep adds a byte to the change, unless it is of a document that is not kept.
func (r *rows) keep(c byte) error {
	if r.substitute != "" {
		r.skipped++
		if r.skipped > r.limits.Skip {
			return fmt.Errorf("the server sends a document that is larger than %d MiB", r.limits.Skip>>20)
		}
		return nil
	}
	r.row = append(r.row, c)
	if r.document > 0 {
		if len(r.row)-r.document > r.limits.Document {
			r.replace(tooLarge)
		}
	} else if len(r.row) > r.limits.Row+r.limits.Document {
		return fmt.Errorf("the server sends a change that is larger than %d KiB", (r.limits.Row+r.limits.Document)>>10)
	}
	return nil
}

// replace replaces the document that is being read.
func (r *rows) replace(substitute string) {
	if r.substitute == "" {
		r.row = append(r.row[:r.document], substitute...)
		r.substitute = substitute
	}
}

func (r *rows) endDocument() {
	if r.document > 0 {
		r.document = 0
	}
	r.substitute, r.skipped = "", 0
}

// end ends a change.
func (r *rows) end() error {
	r.count++
	if !r.continuous && r.count > r.limits.Rows {
		return fmt.Errorf("the server sends more than %d changes at once", r.limits.Rows)
	}
	r.out = append(r.out, r.row...)
	if r.continuous {
		r.out = append(r.out, '\n')
	}
	r.open, r.outside, r.blank = false, 0, 0
	if cap(r.row) > r.limits.Row {
		r.row = nil // a large one is rare
	} else {
		r.row = r.row[:0]
	}
	return nil
}

// between takes a byte outside changes. White space is a sign of life.
func (r *rows) between(c byte) error {
	if !r.quoted && (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
		if r.blank++; r.blank > r.limits.Row {
			return fmt.Errorf("the server sends more than %d KiB of white space", r.limits.Row>>10)
		}
		return nil
	}
	if !r.quoted && c == '{' && r.depth == r.top {
		r.open, r.depth, r.name, r.document, r.substitute = true, r.depth+1, true, 0, ""
		r.row = append(r.row, c)
		if r.continuous {
			r.waited, r.got = 0, 0 // the feed was not late with it
		}
		return nil
	}
	r.outside++
	if r.outside > r.limits.Row {
		return fmt.Errorf("the server does not answer as a CouchDB does: there are more than %d KiB beside the changes", r.limits.Row>>10)
	}
	r.out = append(r.out, c)
	switch {
	case r.escaped:
		r.escaped = false
	case r.quoted && c == '\\':
		r.escaped = true
	case c == '"':
		r.quoted = !r.quoted
	case r.quoted:
	case c == '{' || c == '[':
		r.depth++
		if r.depth > 100 {
			return errors.New("the server does not answer as a CouchDB does: its answer is nested deeper than 100")
		}
	case c == '}' || c == ']':
		r.depth--
	}
	return nil
}
