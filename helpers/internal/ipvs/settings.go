//go:build !ipvs_file

package ipvs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// settings are what the kernel needs to be told so that a destination that is removed
// takes its connections with it: otherwise a client that meets an entry of such a
// connection silently loses its packets, for minutes.
var settings = []string{"expire_nodest_conn", "expire_quiescent_template"}

// Configure sets the kernel's settings for this network namespace, below net.ipv4.vs, to
// what removing destinations without loss needs.
func Configure() error {
	for _, name := range settings {
		if err := set(name, "1"); err != nil {
			return err
		}
	}
	return nil
}

// conntrack lets firewalls see the whole of a balanced connection, where they would
// otherwise take most of its packets for strays.
const conntrack = "conntrack"

// setConntrack switches conntrack on, and first notes what it was.
func setConntrack() error {
	before, err := get(conntrack)
	if err != nil || before == "1" {
		return err
	}
	file, err := conntrackFile()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(before+"\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("note what net.ipv4.vs.%s was: %w", conntrack, err)
	}
	return set(conntrack, "1")
}

// resetConntrack restores what conntrack was.
func resetConntrack() error {
	file, err := conntrackFile()
	if err != nil {
		return err
	}
	before, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = set(conntrack, strings.TrimSpace(string(before)))
	}
	if err == nil {
		err = os.Remove(file)
	}
	return err
}

// conntrackFile keeps what conntrack was in this network namespace.
func conntrackFile() (string, error) {
	here, err := namespace()
	return filepath.Join(runFolder, "conntrack-"+strings.Trim(here, "net:[]")), err
}

func settingPath(name string) string { return "/proc/sys/net/ipv4/vs/" + name }

// get returns the value of a setting.
func get(name string) (string, error) {
	text, err := os.ReadFile(settingPath(name))
	if err != nil {
		return "", fmt.Errorf("look up net.ipv4.vs.%s: %w", name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// set gives a setting a value. If it has that already, a read-only /proc/sys does no
// harm.
func set(name, value string) error {
	if before, err := get(name); err != nil || before == value {
		return err
	}
	if err := os.WriteFile(settingPath(name), []byte(value+"\n"), 0); err != nil {
		return fmt.Errorf("set net.ipv4.vs.%s=%s: %w", name, value, err)
	}
	return nil
}
