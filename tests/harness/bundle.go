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
// native machines has no IPVS, they need the stand-in for sm-ipvs.
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
		"-o", filepath.Join(dir, "bin", "sm-ipvs"), "./helpers/sm-ipvs")
	replace.Dir = root
	replace.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := replace.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stand-in for sm-ipvs: %w: %s", err, out)
	}
	return nil
}
