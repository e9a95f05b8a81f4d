package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

var errIncomplete = errors.New("is not JSON: it ends too early")

// Complete reports whether a document does not end too early, as a file does that is
// still being written. It may be wrong in any other way.
func Complete(document []byte) bool { return checkSyntax(document) != errIncomplete }

// members splits a JSON object, in its own order. Unlike encoding/json, it does
// not let a second member of the same name silently win; and it is several times
// faster, which a generator that reads a thousand definitions at each reload
// needs.
//
// No error has a value in it, which may be secret.
func members(data []byte) ([]member, error) {
	if err := checkSyntax(data); err != nil {
		return nil, err
	}
	s := scanner{data: data}
	if s.next() != '{' {
		return nil, errNoObject
	}
	s.at++
	found := make([]member, 0, min(maxMembers, 1+bytes.Count(data, []byte(","))))
	for s.next() != '}' {
		name, err := text(s.value())
		if err != nil {
			return nil, err
		}
		s.next() // the colon
		s.at++
		s.next()
		value := s.value()
		if s.next() == ',' {
			s.at++
		}
		if len(found) == maxMembers {
			return nil, fmt.Errorf("has more than %d members", maxMembers)
		}
		found = append(found, member{name, value})
	}
	if name, ok := twice(found); ok {
		return nil, fmt.Errorf("has %s twice", printable(name))
	}
	return found, nil
}

// has reports whether there is a member of that name.
func has(given []member, name string) bool {
	return slices.ContainsFunc(given, func(m member) bool { return m.name == name })
}

// twice returns a name that two members have, if there is one.
func twice(given []member) (name string, ok bool) {
	if len(given) <= 16 { // faster without a map
		for i, m := range given {
			if has(given[:i], m.name) {
				return m.name, true
			}
		}
		return "", false
	}
	seen := make(map[string]bool, len(given))
	for _, m := range given {
		if seen[m.name] {
			return m.name, true
		}
		seen[m.name] = true
	}
	return "", false
}

var errNoObject = errors.New("must be a JSON object")

// byteOrderMark is what some editors write before text.
const byteOrderMark = "\xef\xbb\xbf"

// checkSyntax returns an error unless data is one JSON value.
func checkSyntax(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	switch {
	case bytes.HasPrefix(data, []byte(byteOrderMark)):
		return errors.New("begins with a byte order mark; save it as UTF-8 without one")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return errors.New("is UTF-16; save it as UTF-8")
	}
	var value json.RawMessage
	err := json.Unmarshal(data, &value)
	var syntax *json.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: %w", err)
	case syntax.Offset >= int64(len(data)) && syntax.Error() == "unexpected end of JSON input":
		return errIncomplete
	}
	line, column := place(data[:syntax.Offset])
	return fmt.Errorf("is not JSON: %w, in line %d, column %d", err, line, column)
}

// place returns the line and the column, both from 1, of the last character read.
func place(read []byte) (line, column int) {
	line = 1 + bytes.Count(read[:max(0, len(read)-1)], []byte("\n"))
	begin := 1 + bytes.LastIndexByte(read[:max(0, len(read)-1)], '\n')
	return line, max(1, utf8.RuneCount(read[begin:]))
}

// scanner steps through JSON that is known to be valid.
type scanner struct {
	data []byte
	at   int
}

// next skips white space and returns the byte behind it.
func (s *scanner) next() byte {
	for {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
}

// value returns the value that begins here and steps over it.
func (s *scanner) value() json.RawMessage {
	begin, depth := s.at, 0
	for ; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '"':
			s.skipString()
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the end of the object around a number or word
				return s.data[begin:s.at]
			}
			depth--
		case ',', ' ', '\t', '\n', '\r', ':':
			if depth == 0 {
				return s.data[begin:s.at]
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			s.at++
			return s.data[begin:s.at]
		}
	}
	return s.data[begin:]
}

// skipString steps to the closing quote of a string.
func (s *scanner) skipString() {
	for s.at++; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			s.at++
		}
	}
}

// text returns the string that a JSON string stands for.
func text(value json.RawMessage) (string, error) {
	plain := true
	for _, c := range value {
		if c == '\\' || c >= 0x80 {
			plain = false
			break
		}
	}
	if plain && len(value) >= 2 {
		return string(value[1 : len(value)-1]), nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err
}

// isString reports whether a value is a JSON string.
func isString(value json.RawMessage) bool { return len(value) > 0 && value[0] == '"' }

// number returns the whole number that a value is, from 0 to most.
func number(value json.RawMessage, most uint64) (uint64, bool) {
	n, err := strconv.ParseUint(string(value), 10, 64)
	return n, err == nil && n <= most
}
