package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"service-manager/units/name"
)

// Addresses is the file with the addresses of services whose documents have none.
const Addresses = "/etc/service-manager/addresses.json"

// Settings is the file with the settings of the host.
const Settings = "/etc/service-manager/service-manager.conf"

// ParseAddresses reads the text of Addresses: a list of objects like {"name": "web",
// "address": "172.17.0.1:7001"}. Other members are ignored. The error has everything that
// is wrong, on one line; the addresses of the other services are good.
func ParseAddresses(text []byte) (map[name.Service]netip.AddrPort, error) {
	var entries []json.RawMessage
	if err := checkSyntax(text); err != nil {
		return nil, err
	}
	if json.Unmarshal(text, &entries) != nil || entries == nil {
		return nil, fmt.Errorf(`must be a list of objects like {"name": "web", "address": "172.17.0.1:7001"}%s`, gotKind(bytes.TrimSpace(text)))
	}
	addresses := make(map[name.Service]netip.AddrPort, len(entries))
	var wrong []string
	for i, entry := range entries {
		service, address, err := parseEntry(entry)
		if _, twice := addresses[service]; twice && err == nil {
			err = fmt.Errorf(".name: %q has an address further up", service)
		}
		if err != nil {
			wrong = append(wrong, "["+strconv.Itoa(i)+"]"+err.Error())
			continue
		}
		addresses[service] = address
	}
	if len(wrong) == 0 {
		return addresses, nil
	}
	told := wrong[:min(len(wrong), maxProblems)]
	if more := len(wrong) - len(told); more > 0 {
		told = append(told[:len(told):len(told)], fmt.Sprintf("and %s more", thousands(more)))
	}
	return addresses, errors.New(strings.Join(told, "; "))
}

// parseEntry reads one entry of Addresses. The error begins with the path of what is
// wrong in the entry.
func parseEntry(entry json.RawMessage) (service name.Service, address netip.AddrPort, err error) {
	fields, err := members(entry)
	if err != nil {
		return "", address, fmt.Errorf(": %w", objectError(err, "must be an object", entry))
	}
	var p parser
	for _, f := range fields {
		switch f.name {
		case "name":
			if service, err = name.ParseService(p.text(f.name, f.value, nil)); err != nil && len(p.problems) == 0 {
				p.problem(f.name, "%v", err)
			}
		case "address":
			address = p.address(f.name, f.value)
		}
	}
	p.complete("", fields, []string{"name", "address"})
	if len(p.problems) > 0 {
		return "", address, errors.New("." + p.problems[0].String())
	}
	return service, address, nil
}

// HasAddress reports whether a document has an address of its own, or is none that
// could have one.
func HasAddress(document []byte) bool {
	fields, err := members(document)
	return err != nil || slices.ContainsFunc(fields, func(f member) bool { return f.name == "address" || f.name == "endpoints" })
}

// WithAddress returns the document with that address, unless HasAddress says that it
// needs none. The rest of it stays as it is.
func WithAddress(document []byte, address netip.AddrPort) []byte {
	if HasAddress(document) {
		return document
	}
	begin := bytes.IndexByte(document, '{') + 1
	member := `"address":` + strconv.Quote(address.String())
	if !bytes.HasPrefix(bytes.TrimLeft(document[begin:], " \t\r\n"), []byte("}")) {
		member += ","
	}
	return slices.Concat(document[:begin], []byte(member), document[begin:])
}

// ParseAddress returns an address that the kernel can balance.
func ParseAddress(s string) (netip.AddrPort, error) {
	address, err := netip.ParseAddrPort(s)
	ip := address.Addr()
	_, alone := parsePortAlone(s)
	switch {
	case alone:
		err = errors.New("must have an IP, unless ADDRESSES= in " + Settings + " gives this host's")
	case err != nil:
		err = errors.New("must be IP:port or [IPv6]:port")
	case address.Port() == 0:
		err = errors.New("must have a port from 1 to 65535")
	case ip.IsLoopback():
		err = errors.New("must not be a loopback address, which the kernel cannot balance; use another address of the host, such as docker0's")
	case ip.IsUnspecified() || ip.IsMulticast() || ip.Is4In6() || ip.Zone() != "":
		err = errors.New("must be one plain address of the host")
	default:
		return address, nil
	}
	return netip.AddrPort{}, err
}
