// Package host reads what the units of a host are made of: the revisions on
// disk, drop-ins for runners, and where the helpers are.
package host

import (
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
	runner   map[string][]string // drop-ins for the runners of a service
	common   map[string][]string // drop-ins for its manager and its runners
}

// Open looks what services there are below root, which is "/" on a real host.
// Whatever is unreadable is left out and named in the error; the rest is good all
// the same.
func Open(root string) (*Reader, error) {
	helpers, helpersErr := helpers(root)
	runner, runnerErr := dropIns(root, "@runner.service.d")
	common, commonErr := dropIns(root, "@.service.d")
	store := revision.Store{Root: filepath.Join(root, revision.Root), Run: filepath.Join(root, revision.Run)}
	services, servicesErr := store.Services()
	return &Reader{helpers, services, store, runner, common}, errors.Join(helpersErr, runnerErr, commonErr, servicesErr)
}

// Service reads one service. Whatever is unreadable is left out and named in the
// error; the rest is good all the same.
func (r *Reader) Service(name string) (units.Service, error) {
	state, err := r.store.State(name)
	return units.Service{State: state, RunnerDropIns: r.runner[name], CommonDropIns: len(r.common[name]) > 0}, err
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

// dropIns returns the drop-ins in the folders of a kind, by service, sorted. The
// folder of a service is named after it with that end.
func dropIns(root, end string) (map[string][]string, error) {
	found, err := filepath.Glob(filepath.Join(root, DropIns, "*"+end, "*.conf"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	byService := make(map[string][]string)
	for _, path := range found {
		folder := filepath.Base(filepath.Dir(path))
		service := strings.TrimSuffix(folder, end)
		// A link must lead to the same file when root is not "/".
		byService[service] = append(byService[service], filepath.Join(DropIns, folder, filepath.Base(path)))
	}
	return byService, nil
}
