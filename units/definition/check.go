package definition

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

func checkString(s string) error {
	switch {
	case len(s) > maxString:
		return fmt.Errorf("must have at most %d bytes", maxString)
	case strings.ContainsRune(s, 0):
		return errors.New("must not contain a NUL character")
	case strings.ContainsFunc(s, noncharacter):
		return errors.New("must not contain what Unicode calls noncharacters, such as U+FFFE")
	}
	return nil
}

// noncharacter reports whether systemd refuses a whole unit file because of a code point
// that Unicode reserves as none of its characters.
func noncharacter(r rune) bool {
	return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

func checkDescription(s string) error {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("must be one line of printable characters")
	case len(s) > 500:
		return errors.New("must have at most 500 bytes")
	}
	return nil
}

// The grammar is that of the distribution project's image references, without
// their length limits.
var image = regexp.MustCompile(`^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?` +
	`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
	`(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@[a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[0-9a-fA-F]{32,})?$`)

func checkImage(s string) error {
	if len(s) > 512 || !image.MatchString(s) {
		return errors.New("must be an image reference like nginx:1.27 or registry.example:5000/team/app@sha256:…")
	}
	return nil
}

func checkHealthCheckType(s string) error {
	if s != HTTP && s != TCP && s != None {
		return errors.New(`must be "http", "tcp" or "none"`)
	}
	return nil
}

func checkOrder(s string) error {
	if s != StartFirst && s != StopFirst {
		return errors.New(`must be "start-first" or "stop-first"`)
	}
	return nil
}

func checkUntil(s string) error {
	if s != Closed && s != Answered {
		return errors.New(`must be "closed" or "answered"`)
	}
	return nil
}

func checkPath(s string) error {
	switch {
	case !strings.HasPrefix(s, "/"):
		return errors.New(`must begin with "/"`)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		return errors.New("must be made of printable ASCII characters without spaces and \"#\"; escape others as %XX")
	case badEscape.MatchString(s):
		return errors.New(`must have two hexadecimal digits after each "%"`)
	}
	return nil
}

var badEscape = regexp.MustCompile(`%(?:[^0-9a-fA-F]|.[^0-9a-fA-F]|.?$)`)

func checkVariableName(s string) error {
	if len(s) > maxVariable {
		return fmt.Errorf("a variable's name must have at most %d bytes", maxVariable)
	}
	if s == "" || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" || strings.ContainsRune("0123456789.-", rune(s[0])) {
		return errors.New(`a variable's name must be made of letters, digits, "_", "." and "-", and begin with a letter or "_"`)
	}
	return nil
}
