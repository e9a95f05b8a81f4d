package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Bundle builds the product by install.sh --bundle into dir. Where the kernel of
// native machines has no IPVS, they need stand-ins for the helpers that use it.
func Bundle(ctx context.Context, dir string, standIn bool) error {
	tool, err := GoTool()
	if err != nil {
		return err
	}
	module, err := exec.CommandContext(ctx, tool, "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(module)))
	build := exec.CommandContext(ctx, "./install.sh", "--bundle", dir)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("install.sh --bundle: %w: %s", err, out)
	}
	if !standIn {
		return nil
	}
	replace := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags", "ipvs_file",
		"-o", filepath.Join(dir, "bin")+"/", "./helpers/sm-ipvs", "./helpers/sm-healthcheck")
	replace.Dir = root
	replace.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := replace.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stand-ins for sm-ipvs and sm-healthcheck: %w: %s", err, out)
	}
	return nil
}
