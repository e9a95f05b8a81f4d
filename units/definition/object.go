package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members splits a JSON object, in its own order. Unlike encoding/json, it does
// not let a second member of the same name silently win.
func members(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil {
		return nil, syntaxError(dec, err)
	}
	if start != json.Delim('{') {
		return nil, errors.New("must be a JSON object")
	}
	var found []member
	seen := make(map[string]bool)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, syntaxError(dec, err)
		}
		m := member{name: name.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, syntaxError(dec, err)
		}
		if seen[m.name] {
			return nil, fmt.Errorf("has the field %q twice", m.name)
		}
		seen[m.name] = true
		found = append(found, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, syntaxError(dec, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("has something behind its end, at byte %d", dec.InputOffset())
	}
	return found, nil
}

func syntaxError(dec *json.Decoder, err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrIncomplete
	}
	return fmt.Errorf("is not JSON: %w, at byte %d", err, dec.InputOffset())
}

// ErrIncomplete says that a document ends too early, as a file does that is
// still being written.
var ErrIncomplete = errors.New("is not JSON: it ends too early")
