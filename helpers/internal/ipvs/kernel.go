//go:build !ipvs_file

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/hint"
)

// openTable returns the kernel's table.
func openTable() (table, error) {
	// The library tries modprobe even though IPVS is there, and complains to its
	// log where that is not permitted.
	logrus.SetOutput(io.Discard)
	return ipvs.New("")
}

// available returns ErrUnavailable unless the kernel answers for IPVS.
func available() error {
	_, err := netlink.GenlFamilyGet("IPVS")
	if errors.Is(err, unix.ENOENT) {
		return ErrUnavailable
	}
	if err != nil {
		return fmt.Errorf("ask the kernel for IPVS: %w", err)
	}
	return nil
}

// Load makes the kernel load IPVS if it has not yet. The error is ErrUnavailable, with
// the reason and the way out, when it cannot.
func Load(ctx context.Context) error {
	err := available()
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	output, failure := exec.CommandContext(ctx, "modprobe", "ip_vs").CombinedOutput()
	if err = available(); !errors.Is(err, ErrUnavailable) {
		return err
	}
	reason := strings.ReplaceAll(strings.TrimSpace(string(output)), "\n", ", ")
	switch {
	case reason != "":
	case failure != nil:
		reason = "modprobe ip_vs: " + failure.Error()
	default:
		reason = "modprobe ip_vs changed nothing"
	}
	return hint.Add(fmt.Errorf("%w (%s)", err, reason), "run modprobe ip_vs as root, on a kernel that has that module")
}
