package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
)

// traefik is the version of Traefik that is built: Debian has none.
const traefik = "github.com/traefik/traefik/v3@v3.3.4"

// Traefik returns the path of a static executable of the reverse proxy Traefik, which it
// builds from its Go module when it is not in the cache. That takes minutes, and 2 GB in
// Go's cache of modules.
func (c Cache) Traefik(ctx context.Context) (string, error) {
	tool, err := GoTool()
	if err != nil {
		return "", err
	}
	e, err := OpenEntry(ctx, c.Log, c.Dir, "traefik", Hash(traefik), func(dir string) error {
		download := exec.CommandContext(ctx, tool, "mod", "download", "-json", traefik)
		download.Dir = dir // outside this module
		out, err := download.Output()
		if err != nil {
			return fmt.Errorf("download %s: %w: %s", traefik, err, bytes.TrimSpace(out))
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(out, &module); err != nil {
			return fmt.Errorf("download %s: %w", traefik, err)
		}
		// In its own folder, because its go.mod replaces modules that it needs.
		if err := goBuild(ctx, tool, module.Dir, "./cmd/traefik", filepath.Join(dir, "traefik")); err != nil {
			return fmt.Errorf("build %s: %w", traefik, err)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return e.File("traefik"), nil
}
