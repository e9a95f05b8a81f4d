package vm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// An Image is a saved machine that guests start from.
type Image struct {
	cache    string // folder
	log      io.Writer
	emulator emulator
	disk     *entry // root.raw, vmlinuz, initrd.img, id_ed25519
	snapshot *entry // disk.qcow2, ram, state
}

// Base returns a machine with Debian release (bookworm, trixie), Docker and the
// test images (see testImages), saved after it booted. What is not in the cache
// is built, which takes minutes, Internet access and root; log is told.
func Base(ctx context.Context, release string, log io.Writer) (*Image, error) {
	if log == nil {
		log = io.Discard
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	i := &Image{cache: cache, log: log}
	qemu, err := i.part(ctx, "qemu", "")
	if err != nil {
		return nil, err
	}
	i.emulator = emulator{root: qemu.file("root")}
	if i.disk, err = i.part(ctx, "disk", release); err != nil {
		return nil, err
	}
	images, err := i.testImages(ctx)
	if err != nil {
		return nil, err
	}
	key := hash(machineShape(), filepath.Base(qemu.path), images.key)
	i.snapshot, err = openEntry(ctx, log, i.disk.path, "base", key, func(dir string) error {
		return i.boot(ctx, dir, func(g *Guest) error { return images.importInto(ctx, g) })
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// part returns a part that build.sh makes, for a release where it differs.
func (i *Image) part(ctx context.Context, name, release string) (*entry, error) {
	full, args := name, []string{}
	if release != "" {
		full, args = name+"-"+release, []string{release}
	}
	return openEntry(ctx, i.log, i.cache, full, hash(buildScript), func(dir string) error {
		return i.build(ctx, append([]string{name, dir}, args...))
	})
}

// build runs build.sh in namespaces of its own: when it ends, however it ends,
// nothing that it started runs on, and nothing that it mounted stays mounted.
func (i *Image) build(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can build a machine; run it with sudo")
	}
	if missing := missingPrograms(); missing != nil {
		return fmt.Errorf("the host lacks %s; apt-get install %s", strings.Join(missing, ", "), strings.Join(HostPackages(), " "))
	}
	var last tail
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", buildScript, "build.sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = i.log, io.MultiWriter(i.log, &last)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	cmd.WaitDelay = time.Second
	if err := runChild(cmd); err != nil {
		return fmt.Errorf("%w: %s", err, last.String())
	}
	return nil
}

// missingPrograms returns what build.sh and this package run and the host lacks.
func missingPrograms() []string {
	var missing []string
	for _, p := range []string{"mmdebstrap", "busybox", "cpio", "mke2fs", "ssh", "ssh-keygen", "tar", "fallocate", "xz", "zstd"} {
		if _, err := exec.LookPath(p); err != nil {
			if _, err := os.Stat("/sbin/" + p); err != nil { // not in every user's PATH
				missing = append(missing, p)
			}
		}
	}
	return missing
}

// boot boots the disk from cold, lets provision work on it, and saves it to dir.
func (i *Image) boot(ctx context.Context, dir string, provision func(*Guest) error) error {
	g, err := i.newGuest(Options{})
	if err != nil {
		return err
	}
	defer g.Close()
	g.disk = filepath.Join(dir, "disk.qcow2")
	if err := i.emulator.overlay(g.disk, "../root.raw", "raw"); err != nil {
		return err
	}
	if err := g.boot(ctx, filepath.Join(dir, "ram")); err != nil {
		return err
	}
	state, err := g.Booted(ctx)
	if err != nil {
		return err
	}
	if state != "running" {
		failed, _ := g.Output(ctx, "systemctl --failed --no-legend --plain")
		return fmt.Errorf("the machine booted %s: %s", state, failed)
	}
	if err := provision(g); err != nil {
		return err
	}
	return g.save(ctx, dir)
}

// Derive returns a machine that continues the image after provision worked on
// it. Name says what it is for; key stands for everything that provision
// depends on.
func (i *Image) Derive(ctx context.Context, name, key string, provision func(context.Context, *Guest) error) (*Image, error) {
	derived := *i
	var err error
	derived.snapshot, err = openEntry(ctx, i.log, i.snapshot.path, name, hash(key), func(dir string) error {
		g, err := i.newGuest(Options{})
		if err != nil {
			return err
		}
		defer g.Close()
		g.disk = filepath.Join(dir, "disk.qcow2")
		if err := i.emulator.overlay(g.disk, "../disk.qcow2", "qcow2"); err != nil {
			return err
		}
		memory := filepath.Join(dir, "ram")
		if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", "--reflink=auto", i.snapshot.file("ram"), memory).CombinedOutput(); err != nil {
			return fmt.Errorf("copy memory: %w: %s", err, out)
		}
		if err := g.resume(ctx, memory, true, i.snapshot.file("state")); err != nil {
			return err
		}
		if err := provision(ctx, g); err != nil {
			return err
		}
		return g.save(ctx, dir)
	})
	if err != nil {
		return nil, err
	}
	return &derived, nil
}

// Discard removes an image that Derive returned from the cache. It must have no
// guests.
func (i *Image) Discard() error {
	return errors.Join(os.RemoveAll(i.snapshot.path), i.snapshot.lock.Close())
}

// save writes the machine's state to dir, where its disk and memory are already,
// and ends it.
func (g *Guest) save(ctx context.Context, dir string) error {
	if _, err := g.Output(ctx, "sync"); err != nil {
		return err
	}
	g.hangUp()
	// QEMU's own TCP must hold no connection, or the guest would continue with
	// one whose other end is gone.
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		var connections string
		err := g.machine.monitor.execute(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"}, &connections)
		return !strings.Contains(connections, "TCP[ESTABLISHED]") && !strings.Contains(connections, "TCP[FIN_WAIT") && !strings.Contains(connections, "TCP[CLOSE_WAIT"), err
	})
	if err != nil {
		return err
	}
	if err := g.machine.monitor.save(ctx, filepath.Join(dir, "state")); err != nil {
		return err
	}
	if err := g.machine.quit(ctx); err != nil {
		return err
	}
	// Memory that the guest zeroed takes no room.
	if out, err := exec.CommandContext(ctx, "fallocate", "--dig-holes", filepath.Join(dir, "ram")).CombinedOutput(); err != nil {
		return fmt.Errorf("dig holes: %w: %s", err, out)
	}
	return nil
}
