package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"service-manager/units/definition"
)

func TestAddresses(t *testing.T) {
	root := t.TempDir()
	if addresses, err := Addresses(root); len(addresses) > 0 || err != nil {
		t.Errorf("without the file: %v, %v", addresses, err)
	}
	path := filepath.Join(root, definition.Addresses)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := `[{"name": "web", "address": "172.17.0.1:7000"}, {"name": "shop"}]`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	addresses, err := Addresses(root)
	if addresses["web"] != netip.MustParseAddrPort("172.17.0.1:7000") {
		t.Errorf("web has %v", addresses["web"])
	}
	if err == nil || !strings.Contains(err.Error(), path+": [1].address: is missing") {
		t.Errorf("error %v; want one that names the file and the entry", err)
	}
}
