package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"service-manager/tests/harness"
)

// An Image is a saved machine that guests start from.
type Image struct {
	cache    harness.Cache
	emulator emulator
	root     *harness.Entry // vmlinuz, initrd.img, id_ed25519
	disk     *harness.Entry // root.raw
	snapshot *harness.Entry // disk.qcow2, ram, state
}

// Base returns a machine with Debian release (bookworm, trixie), Docker and the
// test images (see harness.TestImages), saved after it booted. What is not in the cache
// is built, which takes minutes, Internet access and root; log is told.
func Base(ctx context.Context, release string, log io.Writer) (*Image, error) {
	cache, err := harness.NewCache(log)
	if err != nil {
		return nil, err
	}
	if missing := missingPrograms(); missing != nil {
		return nil, fmt.Errorf("the host lacks %s; apt-get install %s", strings.Join(missing, ", "), strings.Join(harness.HostPackages(), " "))
	}
	i := &Image{cache: cache}
	qemu, err := cache.Part(ctx, "qemu")
	if err != nil {
		return nil, err
	}
	i.emulator = emulator{root: qemu.File("root")}
	if i.root, err = cache.Root(ctx, release); err != nil {
		return nil, err
	}
	if i.disk, err = cache.Part(ctx, "disk-"+release, i.root.File("root")); err != nil {
		return nil, err
	}
	images, err := cache.TestImages(ctx)
	if err != nil {
		return nil, err
	}
	key := harness.Hash(machineShape(), filepath.Base(qemu.Path), images.Key)
	i.snapshot, err = harness.OpenEntry(ctx, cache.Log, i.disk.Path, "base", key, func(dir string) error {
		return i.boot(ctx, dir, func(g *Guest) error { return images.ImportInto(ctx, g) })
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// missingPrograms returns what this package runs and the host lacks.
func missingPrograms() []string {
	return harness.Missing("ssh", "fallocate")
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
	derived.snapshot, err = harness.OpenEntry(ctx, i.cache.Log, i.snapshot.Path, name, harness.Hash(key), func(dir string) error {
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
		if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", "--reflink=auto", i.snapshot.File("ram"), memory).CombinedOutput(); err != nil {
			return fmt.Errorf("copy memory: %w: %s", err, out)
		}
		if err := g.resume(ctx, memory, true, i.snapshot.File("state")); err != nil {
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
	return errors.Join(os.RemoveAll(i.snapshot.Path), i.snapshot.Lock.Close())
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
