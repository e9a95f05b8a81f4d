package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"service-manager/units/definition"
	"service-manager/units/name"
)

// Addresses returns the addresses that the host below root gives to services by
// name. What is wrong with the file is named in the error; the rest is good
// anyway.
func Addresses(root string) (map[name.Service]netip.AddrPort, error) {
	path := filepath.Join(root, definition.Addresses)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	addresses, err := definition.ParseAddresses(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return addresses, err
}
