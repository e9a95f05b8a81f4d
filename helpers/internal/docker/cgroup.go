package docker

import "strings"

// OfUser reports whether a process belongs to a user's own service manager, by the
// content of its /proc/PID/cgroup.
func OfUser(cgroup string) bool {
	for line := range strings.Lines(cgroup) {
		for _, part := range strings.Split(strings.TrimSpace(line), "/") {
			if strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service") {
				return true
			}
		}
	}
	return false
}

// Slice returns the systemd slice that a process is in, by the content of its
// /proc/PID/cgroup, or "" when it is in none. For a unit of a template without Slice= it
// returns the slice around the one that systemd has made for it.
func Slice(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		hierarchy, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(path, ":")
		unified := hierarchy == "0" && controllers == ""
		if !ok || !unified && controllers != "name=systemd" {
			continue
		}
		slice := ""
		for _, part := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
			// Slices below a service belong to another service manager, a user's. The one
			// that systemd makes for the units of a template is stopped when a shutdown
			// begins, with all that is in it.
			if !strings.HasSuffix(part, ".slice") || strings.HasPrefix(part, "system-") {
				break
			}
			slice = part
		}
		if slice != "" {
			return slice
		}
	}
	return ""
}
