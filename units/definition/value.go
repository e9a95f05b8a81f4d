package definition

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// text returns a string value that passes check. Otherwise it reports the
// problem and returns the empty string.
func (p *parser) text(path string, value json.RawMessage, check func(string) error) string {
	if !isString(value) {
		p.problem(path, "must be a string%s", gotAt(path, value))
		return ""
	}
	s, err := text(value)
	if err == nil {
		err = checkString(s)
	}
	if err == nil && check != nil {
		err = check(s)
	}
	if err != nil {
		p.problem(path, "%v%s", err, gotAt(path, value))
		return ""
	}
	return s
}

// members returns the members of an object; must says what else the value should have
// been. ok is false when a problem was reported.
func (p *parser) members(path string, value json.RawMessage, must string) (given []member, ok bool) {
	given, err := members(value)
	if err != nil {
		p.problem(path, "%v", objectError(err, must, value))
	}
	return given, err == nil
}

// elements returns the elements of an array of at most that many; must says what else
// the value should have been. ok is false when a problem was reported.
func (p *parser) elements(path string, value json.RawMessage, must string, most int) (elements []json.RawMessage, ok bool) {
	if len(value) == 0 || value[0] != '[' || json.Unmarshal(value, &elements) != nil {
		p.problem(path, "%s%s", must, gotAt(path, value))
		return nil, false
	}
	if len(elements) > most {
		p.problem(path, "must have at most %d members (got %d)", most, len(elements))
		return nil, false
	}
	return elements, true
}

// list returns the strings of an array, each of which passes check.
func (p *parser) list(path string, value json.RawMessage, check func(string) error) []string {
	elements, _ := p.elements(path, value, "must be a list of strings", maxMembers)
	var list []string
	for i, element := range elements {
		list = append(list, p.text(fmt.Sprintf("%s[%d]", path, i), element, check))
	}
	return list
}

// words returns the words of a command. A single word may stand without a list;
// nothing is ever split, so no quoting has to be guessed.
func (p *parser) words(path string, value json.RawMessage) []string {
	if !isString(value) {
		return p.list(path, value, nil)
	}
	word := p.text(path, value, nil)
	if strings.ContainsAny(strings.TrimSpace(word), " \t\n") {
		p.problem(path, `must be a list of strings, like ["sleep", "5"]%s`, gotAt(path, value))
	}
	if word == "" {
		return nil
	}
	return []string{word}
}

// wordsFit checks that words fit into one line of a unit, and names the field that takes
// most of it.
func (p *parser) wordsFit() {
	sizes := map[string]int{}
	add := func(field string, words ...string) {
		for _, w := range words {
			sizes[field] += len(w) + 1
		}
	}
	add("entrypoint", p.d.Entrypoint...)
	add("command", p.d.Command...)
	add("pre_start.command", p.d.PreStart.Command...)
	for _, f := range p.d.Flags {
		add(f.Field, f.Value)
	}
	all, most := 0, ""
	for name, size := range sizes {
		if all += size; size > sizes[most] || size == sizes[most] && name < most {
			most = name
		}
	}
	if all > maxWords {
		p.problem(most, "must have at most %d KiB, together with everything else in a command", maxWords>>10)
	}
}

func (p *parser) duration(path string, value json.RawMessage, least time.Duration) time.Duration {
	s, err := text(value)
	var d time.Duration
	if err == nil && isString(value) {
		d, err = time.ParseDuration(s)
	}
	switch {
	case err != nil || !isString(value):
		p.problem(path, `must be a duration like "30s" or "5m"%s`, got(value))
	case d < least:
		p.problem(path, "must be at least %v%s", least, got(value))
	case d > maxDuration:
		p.problem(path, "must be at most %v%s", maxDuration, got(value))
	default:
		return d
	}
	return 0
}

func (p *parser) boolean(path string, value json.RawMessage) bool {
	switch string(value) {
	case "true":
		return true
	case "false":
	default:
		p.problem(path, "must be true or false%s", got(value))
	}
	return false
}

func (p *parser) port(path string, value json.RawMessage) uint16 {
	port, ok := number(value, 65535)
	if !ok || port == 0 {
		p.problem(path, "must be a number from 1 to 65535%s", got(value))
		return 0
	}
	return uint16(port)
}

func (p *parser) count(path string, value json.RawMessage, least, most uint64) int {
	n, ok := number(value, most)
	if !ok || n < least {
		p.problem(path, "must be a number from %d to %d%s", least, most, got(value))
		return 0
	}
	return int(n)
}

func (p *parser) address(path string, value json.RawMessage) netip.AddrPort {
	s := p.text(path, value, nil)
	if s == "" {
		if len(p.problems) == 0 || p.problems[len(p.problems)-1].Path != path {
			p.problem(path, "must be IP:port or [IPv6]:port%s", got(value))
		}
		return netip.AddrPort{}
	}
	address, err := ParseAddress(s)
	if err != nil {
		p.problem(path, "%v%s", err, got(value))
	}
	return address
}

func (p *parser) environment(path string, value json.RawMessage) {
	variables, ok := p.members(path, value, `must be an object of strings, like {"NAME": "value"}`)
	if !ok {
		return
	}
	for _, v := range variables {
		if err := checkVariableName(v.name); err != nil {
			p.problem(path+"."+printable(v.name), "%v", err)
			continue
		}
		text := p.text(path+"."+v.name, v.value, nil)
		p.d.Environment = append(p.d.Environment, Variable{v.name, text})
	}
	slices.SortFunc(p.d.Environment, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
}
