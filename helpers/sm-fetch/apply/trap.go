package apply

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// templates are the folders in which a unit of that name comes before a generated
// one, or beside it.
var templates = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// vendors are those of the folders that are not the administrator's, where drop-ins are
// meant for the units of a service.
var vendors = templates[2:]

// helpersOwn are folders in /run/service-manager that belong to no service. The removal of
// a service of that name would remove them.
var helpersOwn = []string{"containers", "holds", "ipvs"}

// trap returns why the name of a service would collide with something that exists, empty
// when it would not.
func trap(root, service string) string {
	switch {
	case slices.Contains(helpersOwn, service), strings.HasPrefix(service, "conntrack-"):
		return "the helpers keep files of their own in /run/service-manager/" + service
	case service == "user":
		return "systemd runs the managers of users as user@….service"
	case strings.HasPrefix(service, "sm-"):
		return `names that begin with "sm-" are those of helper units`
	case strings.HasPrefix(service, "systemd-"):
		return `names that begin with "systemd-" are those of systemd's own units`
	}
	exists := func(folder, name string) string {
		path := filepath.Join(folder, name)
		if _, err := os.Lstat(filepath.Join(root, path)); err != nil {
			return ""
		}
		return path
	}
	for _, folder := range templates {
		if path := exists(folder, service+"@.service"); path != "" {
			return "its units would be instances of " + path
		}
	}
	// systemd also looks for drop-ins of what a name begins with, up to a dash.
	names := []string{service + "@.service.d"}
	for i, r := range service {
		if r == '-' {
			names = append(names, service[:i+1]+".service.d")
		}
	}
	for _, folder := range vendors {
		for _, name := range names {
			if path := exists(folder, name); path != "" {
				return path + " would change its units"
			}
		}
	}
	return ""
}
