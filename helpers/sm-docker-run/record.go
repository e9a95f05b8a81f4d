package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"service-manager/units/revision/atomicfile"
)

// record is what the later commands of a unit learn about the container, through a file
// that the unit reads with EnvironmentFile=.
type record struct{ name, id, ip4, ip6 string }

// plain is what systemd reads back unchanged without quotes.
var plain = regexp.MustCompile(`^[A-Za-z0-9_.:%/-]*$`)

// text returns the file's content. Without an id it is the record of a container that is
// yet to come, and has only the name.
func (r record) text() (string, error) {
	var b strings.Builder
	line := func(key, value string) error {
		if !plain.MatchString(value) {
			return fmt.Errorf("%s: cannot be written to an environment file: %q", key, value)
		}
		fmt.Fprintf(&b, "%s=%s\n", key, value)
		return nil
	}
	if err := line("SM_CONTAINER_NAME", r.name); err != nil || r.id == "" {
		return b.String(), err
	}
	for _, l := range [][2]string{{"SM_CONTAINER_ID", r.id}, {"SM_CONTAINER_IP", r.ip4}, {"SM_CONTAINER_IP6", r.ip6}} {
		if err := line(l[0], l[1]); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// write replaces the run record at path. With an empty path it does nothing.
func (r record) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := r.text()
	if err != nil {
		return fmt.Errorf("write the run record %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the run record: %w", err)
	}
	if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the run record: %w", err)
	}
	return nil
}
