// Package host reads what the units of a host are made of: the revisions on
// disk, drop-ins for runners, and where the helpers are.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"service-manager/units"
	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/revision"
)

const (
	// Settings is the file with the settings of this host.
	Settings = definition.Settings
	// DefaultHelpers is the folder of the helpers unless HELPERS= says another.
	DefaultHelpers = "/usr/local/bin"
)

// Reader reads the services of a host one by one.
type Reader struct {
	Helpers  string         // folder of the helpers
	Services []name.Service // sorted
	store    revision.Store
	dropIns  dropIns
}

// maxServices is how many services get units. It is above what is accepted, because
// services that are being removed stay until they have stopped.
const maxServices = 2 * definition.MaxServices

// Open finds the services below root, which is "/" on a real host. Definitions in known,
// if not nil, are not parsed again. Whatever is unreadable is left out and named in the
// error; the rest is good anyway.
func Open(root string, known *revision.Known) (*Reader, error) {
	helpers, helpersErr := helpers(root)
	dropIns, dropInsErr := findDropIns(root)
	store := revision.Store{Root: filepath.Join(root, revision.Root), Run: filepath.Join(root, revision.Run), Known: known}
	services, servicesErr := store.Services()
	services, tooMany := limit(services)
	return &Reader{helpers, services, store, dropIns}, errors.Join(helpersErr, dropInsErr, servicesErr, tooMany)
}

// Service reads one service. Whatever is unreadable is left out and named in the
// error; the rest is good anyway.
func (r *Reader) Service(service name.Service) (units.Service, error) {
	state, err := r.store.State(service)
	return units.Service{State: state, RunnerDropIns: r.dropIns.runner[string(service)], CommonDropIns: r.dropIns.beside(string(service))}, err
}

// limit cuts the services to as many as get units. The error names the rest.
func limit(services []name.Service) ([]name.Service, error) {
	if len(services) <= maxServices {
		return services, nil
	}
	return services[:maxServices], fmt.Errorf("there are %d services, of which %d at most get units; left out: %s",
		len(services), maxServices, name.Join(services[maxServices:], " "))
}

// Read reads all services below root, as Open does.
func Read(root string, known *revision.Known) (units.Host, error) {
	r, err := Open(root, known)
	problems := []error{err}
	h := units.Host{Helpers: r.Helpers, Services: make([]units.Service, len(r.Services))}
	for i, service := range r.Services {
		h.Services[i], err = r.Service(service)
		problems = append(problems, err)
	}
	return h, errors.Join(problems...)
}

// helpers returns the folder that HELPERS= in the settings below root names.
func helpers(root string) (string, error) {
	folder, err := Setting(root, "HELPERS")
	if err != nil || folder == "" {
		return DefaultHelpers, err
	}
	if !filepath.IsAbs(folder) || strings.ContainsFunc(folder, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return DefaultHelpers, fmt.Errorf("%s: HELPERS: must be an absolute path without spaces (got %q)", filepath.Join(root, Settings), folder)
	}
	return filepath.Clean(folder), nil
}

// Setting returns the value that a setting has in the file below root, empty when
// it has none. The last one counts, as in an environment file of systemd's.
func Setting(root, name string) (string, error) {
	settings, err := os.ReadFile(filepath.Join(root, Settings))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	value := ""
	for line := range strings.Lines(string(settings)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			value = strings.Trim(v, `"'`)
		}
	}
	return value, nil
}
