package host

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dropInFolders are where systemd looks for units, and so for drop-ins, in order of
// precedence, without the folders of generators: what those write is not there yet.
var dropInFolders = []string{
	"/etc/systemd/system.control",
	"/run/systemd/system.control",
	"/run/systemd/transient",
	"/etc/systemd/system",
	"/etc/systemd/system.attached",
	"/run/systemd/system",
	"/run/systemd/system.attached",
	"/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system",
}

// dropIns are the drop-ins on a host that apply to units of services.
type dropIns struct {
	// runner has, by service, the drop-ins that are linked to its runners.
	runner map[string][]string
	// all says that there are drop-ins for every service unit of the host.
	all bool
	// prefixes are the parts before "@" of the units that have drop-ins: names of
	// services, or the beginnings of names, up to a dash.
	prefixes map[string]bool
}

// beside reports whether systemd applies drop-ins to runners of a service on its
// own.
func (d dropIns) beside(service string) bool {
	if d.all || d.prefixes[service] {
		return true
	}
	for i := range len(service) {
		if service[i] == '-' && d.prefixes[service[:i+1]] {
			return true
		}
	}
	return false
}

// findDropIns finds the drop-ins below root.
func findDropIns(root string) (dropIns, error) {
	d := dropIns{runner: make(map[string][]string), prefixes: make(map[string]bool)}
	runner := make(map[string]map[string]string) // by service, then by file name
	var problems []error
	for _, folder := range dropInFolders {
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		for _, entry := range entries {
			unit, ok := strings.CutSuffix(entry.Name(), "service.d")
			if !ok || unit != "" && !strings.HasSuffix(unit, ".") {
				continue
			}
			prefix, instance, isInstance := strings.Cut(strings.TrimSuffix(unit, "."), "@")
			if instance == "manager" || unit != "" && !isInstance {
				continue
			}
			files, err := configurations(filepath.Join(root, folder, entry.Name()))
			problems = append(problems, err)
			switch {
			case len(files) == 0:
			case unit == "":
				d.all = true
			case instance == "runner":
				if runner[prefix] == nil {
					runner[prefix] = make(map[string]string)
				}
				for _, file := range files {
					if runner[prefix][file] == "" { // those of one name in later folders do not count
						// A link must lead to the same file when root is not "/".
						runner[prefix][file] = filepath.Join(folder, entry.Name(), file)
					}
				}
			default:
				d.prefixes[prefix] = true
			}
		}
	}
	for service, files := range runner {
		for _, file := range slices.Sorted(maps.Keys(files)) {
			d.runner[service] = append(d.runner[service], files[file])
		}
	}
	return d, errors.Join(problems...)
}

// configurations returns the files in a folder that systemd reads.
func configurations(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".conf") && !strings.HasPrefix(entry.Name(), ".") {
			files = append(files, entry.Name())
		}
	}
	return files, err
}
