// Package host reads what the units of a host are made of: the revisions on
// disk, drop-ins for runners, and where the helpers are.
package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"service-manager/units"
	"service-manager/units/revision"
)

const (
	// Settings is the file with the settings of this host.
	Settings = "/etc/service-manager/service-manager.conf"
	// DropIns is where drop-ins of the host's administrator are.
	DropIns = "/etc/systemd/system"
	// DefaultHelpers is the folder of the helpers unless HELPERS= says another.
	DefaultHelpers = "/usr/local/bin"
)

// Reader reads the services of a host one by one.
type Reader struct {
	Helpers  string   // folder of the helpers
	Services []string // names, sorted
	store    revision.Store
	dropIns  map[string][]string
}

// Open looks what services there are below root, which is "/" on a real host.
// Whatever is unreadable is left out and named in the error; the rest is good all
// the same.
func Open(root string) (*Reader, error) {
	helpers, helpersErr := helpers(filepath.Join(root, Settings))
	dropIns, dropInsErr := runnerDropIns(root)
	store := revision.Store{Root: filepath.Join(root, revision.Root), Run: filepath.Join(root, revision.Run)}
	services, servicesErr := store.Services()
	return &Reader{helpers, services, store, dropIns}, errors.Join(helpersErr, dropInsErr, servicesErr)
}

// Service reads one service. Whatever is unreadable is left out and named in the
// error; the rest is good all the same.
func (r *Reader) Service(name string) (units.Service, error) {
	state, err := r.store.State(name)
	return units.Service{State: state, RunnerDropIns: r.dropIns[name]}, err
}

// Read reads all services below root. Whatever is unreadable is left out and
// named in the error; the rest is good all the same.
func Read(root string) (units.Host, error) {
	r, err := Open(root)
	problems := []error{err}
	h := units.Host{Helpers: r.Helpers, Services: make([]units.Service, len(r.Services))}
	for i, name := range r.Services {
		h.Services[i], err = r.Service(name)
		problems = append(problems, err)
	}
	return h, errors.Join(problems...)
}

// helpers returns the folder that HELPERS= in the settings names.
func helpers(path string) (string, error) {
	settings, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return DefaultHelpers, err
	}
	folder := DefaultHelpers
	lines := bufio.NewScanner(bytes.NewReader(settings))
	for lines.Scan() {
		value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "HELPERS=")
		if !ok {
			continue
		}
		value = strings.Trim(value, `"'`)
		if !filepath.IsAbs(value) || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return DefaultHelpers, fmt.Errorf("%s: HELPERS: must be an absolute path without spaces (got %q)", path, value)
		}
		folder = filepath.Clean(value)
	}
	return folder, lines.Err()
}

// runnerDropIns returns the drop-ins for runners alone, by service, sorted.
func runnerDropIns(root string) (map[string][]string, error) {
	const folder = "@runner.service.d"
	found, err := filepath.Glob(filepath.Join(root, DropIns, "*"+folder, "*.conf"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	dropIns := make(map[string][]string)
	for _, path := range found {
		service := strings.TrimSuffix(filepath.Base(filepath.Dir(path)), folder)
		// A link must lead to the same file when root is not "/".
		inside := filepath.Join(DropIns, service+folder, filepath.Base(path))
		dropIns[service] = append(dropIns[service], inside)
	}
	return dropIns, nil
}
