// Package pool gives addresses of this host to services whose definitions name none, each
// service one and for ever: others may have written it down.
package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"service-manager/units/definition"
	"service-manager/units/filelock"
	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// A Range is ports of one address.
type Range struct {
	addr        netip.Addr
	first, last uint16
}

// ParseRange reads a range like 172.17.0.1:7000-7999 or [fd00::1]:7000-7999.
func ParseRange(text string) (Range, error) {
	i := strings.LastIndexByte(text, '-')
	if i < 0 {
		return Range{}, fmt.Errorf("must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999 (got %q)", text)
	}
	first, err := definition.ParseAddress(text[:i])
	if err != nil {
		return Range{}, fmt.Errorf("must be IP:FIRST-LAST, such as 172.17.0.1:7000-7999: the first address %w (got %q)", err, text)
	}
	last, err := strconv.ParseUint(text[i+1:], 10, 16)
	if err != nil || uint16(last) < first.Port() {
		return Range{}, fmt.Errorf("must have a last port from the first one to 65535 (got %q)", text)
	}
	return Range{first.Addr(), first.Port(), uint16(last)}, nil
}

func (r Range) String() string {
	return fmt.Sprintf("%s-%d", netip.AddrPortFrom(r.addr, r.first), r.last)
}

// First returns the first address.
func (r Range) First() netip.AddrPort { return netip.AddrPortFrom(r.addr, r.first) }

func (r Range) has(address netip.AddrPort) bool {
	return address.Addr() == r.addr && address.Port() >= r.first && address.Port() <= r.last
}

// A Pool is a range from which services have been given addresses.
type Pool struct {
	Range
	// Path is the file that records them, in the form of addresses.json. Beside it is a
	// lock file.
	Path string
}

// lockWait is how long another process may take to assign an address.
const lockWait = 10 * time.Second

// Given returns the addresses that services have been given, including any outside the
// range, which may have been a different one.
func (p *Pool) Given() (map[name.Service]netip.AddrPort, error) {
	text, err := os.ReadFile(p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[name.Service]netip.AddrPort{}, nil
	}
	if err != nil {
		return nil, err
	}
	given, err := definition.ParseAddresses(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	return given, nil
}

// Give returns the address of a service. One without gets the one that it had before, if
// that is in the range, or else the first free one. isNew says that it was given just
// now.
func (p *Pool) Give(ctx context.Context, service name.Service, before []netip.AddrPort, taken func(netip.AddrPort) bool) (address netip.AddrPort, isNew bool, err error) {
	unlock, err := p.lock(ctx)
	if err != nil {
		return address, false, err
	}
	defer unlock()
	given, err := p.Given()
	if err != nil {
		return address, false, err
	}
	if address, has := given[service]; has {
		return address, false, nil
	}
	of := make(map[netip.AddrPort]bool, len(given))
	for _, address := range given {
		of[address] = true
	}
	free := func(address netip.AddrPort) bool { return !of[address] && !taken(address) }
	if i := slices.IndexFunc(before, func(a netip.AddrPort) bool { return p.has(a) && free(a) }); i >= 0 {
		address = before[i]
	} else if address, err = p.next(free); err != nil {
		return address, false, err
	}
	given[service] = address
	return address, true, p.write(given)
}

// next returns the first address of the range that is free.
func (p *Pool) next(free func(netip.AddrPort) bool) (netip.AddrPort, error) {
	for port := int(p.first); port <= int(p.last); port++ {
		if address := netip.AddrPortFrom(p.addr, uint16(port)); free(address) {
			return address, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("no address of ADDRESSES=%s is free", p.Range)
}

func (p *Pool) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o700); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	file, err := filelock.NewWaiter(nil).Open(limited, p.Path+".lock")
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}

// write saves who has which address, a line for each service.
func (p *Pool) write(given map[name.Service]netip.AddrPort) error {
	var text strings.Builder
	separator := "[\n"
	for _, service := range slices.Sorted(maps.Keys(given)) {
		entry, err := json.Marshal(struct {
			Name    name.Service   `json:"name"`
			Address netip.AddrPort `json:"address"`
		}{service, given[service]})
		if err != nil {
			return err
		}
		text.WriteString(separator + string(entry))
		separator = ",\n"
	}
	text.WriteString("\n]\n")
	return atomicfile.Write(p.Path, []byte(text.String()), 0o600)
}
