//go:build ipvs_file

package ipvs

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// This is sm-ipvs for tests of units on a kernel without IPVS: everything but the
// kernel's own table is as it is elsewhere. No connection is balanced.

// tableFile holds the table, and lives as long as the kernel's does. Beside it,
// activeFolder has a file for each destination that has active connections, such
// as 172.17.0.2:80, with their number.
const (
	tableFile    = "/run/ipvs-table/table.json"
	activeFolder = "/run/ipvs-table/active"
)

func available() error { return nil }

// Load finds IPVS loaded.
func Load(context.Context) error { return nil }

// Configure has nothing to configure.
func Configure() error { return nil }

// No packet comes here.
func openPaths(map[Place]note) error { return nil }
func closePath(Address) error        { return nil }

// There is none to keep, either.
func catchPackets([]Address) (catch, error) { return noPackets{}, nil }

type noPackets struct{}

func (noPackets) Packets() int   { return 0 }
func (noPackets) Release() error { return nil }

// Answered knows of no connection.
func (*Handle) Answered(Address, netip.AddrPort) (int, error) { return 0, nil }

func unwatch(netip.AddrPort) error { return nil }

// Reachable is true: no packet comes here.
func Reachable(...Address) (bool, error) { return true, nil }

func generation() (uint32, error) { return 0, nil }

func openTable() (table, error) {
	return fileTable{}, os.MkdirAll(activeFolder, 0o755)
}

type fileTable struct{}

// A row is a virtual service with its destinations.
type row struct {
	Service      *ipvs.Service
	Destinations []*ipvs.Destination
}

func (r *row) destination(d *ipvs.Destination) int {
	for i, known := range r.Destinations {
		if known.Address.Equal(d.Address) && known.Port == d.Port {
			return i
		}
	}
	return -1
}

func (fileTable) Close() {}

// change calls f with the table, which f may change, while no other process does.
func change(f func(rows []*row) ([]*row, error)) error {
	lock, err := os.OpenFile(tableFile+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	var rows []*row
	content, err := os.ReadFile(tableFile)
	if err == nil {
		err = json.Unmarshal(content, &rows)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, r := range rows {
		r.Service.Address = short(r.Service.Address)
		for _, d := range r.Destinations {
			d.Address = short(d.Address)
		}
	}
	if rows, err = f(rows); err != nil {
		return err
	}
	if content, err = json.MarshalIndent(rows, "", " "); err != nil {
		return err
	}
	if err := os.WriteFile(tableFile+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(tableFile+".new", tableFile)
}

// short returns an address as the kernel gives it: JSON turns every address into 16
// bytes.
func short(ip net.IP) net.IP {
	if four := ip.To4(); four != nil {
		return four
	}
	return ip
}

func index(rows []*row, key *ipvs.Service) int {
	for i, r := range rows {
		if r.Service.Address.Equal(key.Address) && r.Service.Port == key.Port && r.Service.Protocol == key.Protocol {
			return i
		}
	}
	return -1
}

// with calls f with the row of a service, which must exist.
func with(key *ipvs.Service, f func(*row) error) error {
	return change(func(rows []*row) ([]*row, error) {
		i := index(rows, key)
		if i < 0 {
			return nil, unix.ESRCH
		}
		return rows, f(rows[i])
	})
}

func (fileTable) GetService(key *ipvs.Service) (found *ipvs.Service, err error) {
	err = with(key, func(r *row) error {
		found = r.Service
		return nil
	})
	return found, err
}

func (fileTable) GetServices() (all []*ipvs.Service, err error) {
	err = change(func(rows []*row) ([]*row, error) {
		for _, r := range rows {
			all = append(all, r.Service)
		}
		return rows, nil
	})
	return all, err
}

func (fileTable) NewService(s *ipvs.Service) error {
	if !known(s.SchedName) {
		return unix.ENOENT
	}
	return change(func(rows []*row) ([]*row, error) {
		if index(rows, s) >= 0 {
			return nil, unix.EEXIST
		}
		return append(rows, &row{Service: s}), nil
	})
}

func (fileTable) UpdateService(s *ipvs.Service) error {
	if !known(s.SchedName) {
		return unix.ENOENT
	}
	return with(s, func(r *row) error {
		r.Service = s
		return nil
	})
}

func known(scheduler string) bool {
	return strings.Contains(" rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh ", " "+scheduler+" ")
}

func (fileTable) DelService(s *ipvs.Service) error {
	return change(func(rows []*row) ([]*row, error) {
		i := index(rows, s)
		if i < 0 {
			return nil, unix.ESRCH
		}
		return append(rows[:i], rows[i+1:]...), nil
	})
}

func (fileTable) GetDestinations(s *ipvs.Service) (all []*ipvs.Destination, err error) {
	err = with(s, func(r *row) error {
		for _, d := range r.Destinations {
			shown := *d
			addr, _ := netip.AddrFromSlice(d.Address)
			name := netip.AddrPortFrom(addr, d.Port).String()
			if active, err := os.ReadFile(filepath.Join(activeFolder, name)); err == nil {
				shown.ActiveConnections, _ = strconv.Atoi(strings.TrimSpace(string(active)))
			}
			all = append(all, &shown)
		}
		return nil
	})
	return all, err
}

func (fileTable) NewDestination(s *ipvs.Service, d *ipvs.Destination) error {
	return with(s, func(r *row) error {
		if r.destination(d) >= 0 {
			return unix.EEXIST
		}
		r.Destinations = append(r.Destinations, d)
		return nil
	})
}

func (fileTable) UpdateDestination(s *ipvs.Service, d *ipvs.Destination) error {
	return with(s, func(r *row) error {
		i := r.destination(d)
		if i < 0 {
			return unix.ENOENT
		}
		r.Destinations[i] = d
		return nil
	})
}

func (fileTable) DelDestination(s *ipvs.Service, d *ipvs.Destination) error {
	return with(s, func(r *row) error {
		i := r.destination(d)
		if i < 0 {
			return unix.ENOENT
		}
		r.Destinations = append(r.Destinations[:i], r.Destinations[i+1:]...)
		return nil
	})
}
