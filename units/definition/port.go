package definition

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// WithIP returns a document in which addresses that are only a port, like ":7001", have
// that IP. The rest of it stays as it is.
func WithIP(document []byte, ip netip.Addr) []byte {
	given, err := members(document)
	if err != nil {
		return document
	}
	var found []member
	for _, m := range given {
		switch {
		case m.name == "address":
			found = append(found, m)
		case m.name == "endpoints" && m.value[0] == '[':
			found = append(found, addressesIn(m.value)...)
		}
	}
	complete := document
	// From the end, so that earlier positions stay valid.
	for _, m := range slices.Backward(found) {
		port, ok := portAlone(m)
		if !ok {
			continue
		}
		at := cap(document) - cap(m.value) // it is a part of the document
		complete = slices.Concat(complete[:at], []byte(strconv.Quote(netip.AddrPortFrom(ip, port).String())), complete[at+len(m.value):])
	}
	return complete
}

// addressesIn returns the members address of the objects in a list.
func addressesIn(list []byte) []member {
	var found []member
	s := scanner{data: list, at: 1}
	for s.next() != ']' {
		given, err := members(s.value())
		if s.next() == ',' {
			s.at++
		}
		if err != nil {
			continue // the parser says so
		}
		if i := slices.IndexFunc(given, func(m member) bool { return m.name == "address" }); i >= 0 {
			found = append(found, given[i])
		}
	}
	return found
}

func portAlone(m member) (port uint16, ok bool) {
	if !isString(m.value) {
		return 0, false
	}
	s, err := text(m.value)
	if err != nil {
		return 0, false
	}
	return parsePortAlone(s)
}

// parsePortAlone reads an address like ":7001".
func parsePortAlone(s string) (port uint16, ok bool) {
	digits, ok := strings.CutPrefix(s, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), ok && err == nil && n != 0
}
