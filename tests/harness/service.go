package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// WriteService writes the service of that number, with a good revision and a pending
// one, into a folder of revisions.
func WriteService(t testing.TB, revisions string, n int) {
	t.Helper()
	const good, current = "1-62d4023616ab1e7921f74f650aab51e1", "2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d"
	service := fmt.Sprintf("service-%d", n)
	dir := filepath.Join(revisions, service)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for link, rev := range map[string]string{"good": good, "current": current} {
		d := Definition{"_id": service, "_rev": rev, "image": "registry.example/team/service:1.0",
			"address": fmt.Sprintf("172.17.0.1:%d", 20000+n), "port": 80,
			"environment": map[string]string{"DATABASE_URL": "postgres://db/service", "LOG_LEVEL": "info"},
			"volumes":     []string{"/srv/service:/data"}}
		if err := os.WriteFile(filepath.Join(dir, rev+".json"), []byte(d.JSON(t)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(rev+".json", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
}
