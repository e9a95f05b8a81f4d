package harness

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

//go:embed build.sh
var buildScript string

//go:embed host-packages
var hostPackages string

// HostPackages returns the Debian packages that the host needs, besides Go.
func HostPackages() []string { return strings.Fields(hostPackages) }

// A Cache is the folder that the parts of machines are kept in.
type Cache struct {
	Dir string
	Log io.Writer // is told what is built
}

// NewCache returns the user's.
func NewCache(log io.Writer) (Cache, error) {
	if log == nil {
		log = io.Discard
	}
	dir, err := CacheDir()
	return Cache{dir, log}, err
}

// Root returns the files of a Debian release that boots: root/, and for a virtual
// machine also vmlinuz, initrd.img and id_ed25519.
func (c Cache) Root(ctx context.Context, release string) (*Entry, error) {
	return c.Part(ctx, "root-"+release, release)
}

// Part returns what build.sh makes when it is called by the first word of name,
// with the path of an entry and these arguments. What is not in the cache is
// built, which takes minutes, Internet access and root.
func (c Cache) Part(ctx context.Context, name string, args ...string) (*Entry, error) {
	command, _, _ := strings.Cut(name, "-")
	return OpenEntry(ctx, c.Log, c.Dir, name, Hash(buildScript), func(dir string) error {
		return c.build(ctx, append([]string{command, dir}, args...))
	})
}

// build runs build.sh in namespaces of its own: when it ends, however it ends,
// nothing that it started runs on, and nothing that it mounted stays mounted.
func (c Cache) build(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can build a machine; run it with sudo")
	}
	if missing := Missing("mmdebstrap", "busybox", "cpio", "mke2fs", "ssh-keygen", "tar", "xz", "zstd"); missing != nil {
		return fmt.Errorf("the host lacks %s; apt-get install %s", strings.Join(missing, ", "), strings.Join(HostPackages(), " "))
	}
	var last Tail
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", buildScript, "build.sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = c.Log, io.MultiWriter(c.Log, &last)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	cmd.WaitDelay = time.Second
	if err := RunChild(cmd); err != nil {
		return fmt.Errorf("%w: %s", err, last.String())
	}
	return nil
}

// Missing returns the programs that the host lacks.
func Missing(programs ...string) []string {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if _, err := os.Stat("/sbin/" + p); err != nil { // not in every user's PATH
				missing = append(missing, p)
			}
		}
	}
	return missing
}

// Tail keeps the last bytes written to it.
type Tail struct{ data []byte }

func (t *Tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	t.data = t.data[max(0, len(t.data)-1000):]
	return len(p), nil
}

func (t *Tail) String() string { return strings.TrimSpace(string(t.data)) }

// Quote quotes a word for the shell.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Shorten returns a script's first line for an error message.
func Shorten(script string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(script), "\n")
	if len(line) > 120 || rest != "" {
		return line[:min(len(line), 120)] + " …"
	}
	return line
}
