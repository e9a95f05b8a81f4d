package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"service-manager/tests/harness"
)

// Options say how a guest starts.
type Options struct {
	// Cold boots the machine instead of continuing the snapshot: 15 seconds
	// instead of two, and systemd starts everything.
	Cold bool
	// PowerSafe makes the disk honour the guest's flushes, so that PowerCut
	// loses what a power cut would. Slower.
	PowerSafe bool
	// Keep leaves the machine running when this process ends without Close.
	Keep bool
}

// A Guest is a running machine, or one that is off between PowerCut and Boot.
// Its methods may be called from several goroutines, except for those that
// start and end the machine.
type Guest struct {
	image      *Image
	options    Options
	dir        string // its own folder
	lock       *os.File
	disk       string
	port       int
	machine    *machine
	disconnect func()
	forwards   [][]string // arguments of ssh, to be renewed at each connect

	mu       sync.Mutex
	commands int // counts those started, to name them
}

// Start starts a machine that continues where the image was saved.
func (i *Image) Start(ctx context.Context, o Options) (*Guest, error) {
	g, err := i.newGuest(o)
	if err != nil {
		return nil, err
	}
	g.disk = filepath.Join(g.dir, "disk.qcow2")
	err = i.emulator.overlay(g.disk, i.snapshot.File("disk.qcow2"), "qcow2")
	if err == nil && o.Cold {
		err = g.Boot(ctx)
	} else if err == nil {
		err = g.resume(ctx, i.snapshot.File("ram"), false, i.snapshot.File("state"))
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// newGuest makes a guest's folder, and removes those that processes left
// which were killed.
func (i *Image) newGuest(o Options) (*Guest, error) {
	runs := filepath.Join(i.cache.Dir, "run")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(runs); err == nil {
		for _, d := range left {
			info, err := d.Info()
			if err == nil && time.Since(info.ModTime()) > time.Minute { // else it may not be locked yet
				harness.RemoveUnused(filepath.Join(runs, d.Name()))
			}
		}
	}
	dir, err := os.MkdirTemp(runs, "guest-")
	if err != nil {
		return nil, err
	}
	// QEMU inherits the lock: the folder stays for as long as either lives.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	port, err := freePort()
	return &Guest{image: i, options: o, dir: dir, lock: lock, port: port}, err
}

func (g *Guest) spec() qemuSpec {
	s := qemuSpec{
		emulator: g.image.emulator, dir: g.dir,
		kernel: g.image.root.File("vmlinuz"), initrd: g.image.root.File("initrd.img"),
		disk: g.disk, powerSafe: g.options.PowerSafe, port: g.port, keep: g.options.Keep,
		inherit: []*os.File{g.lock, g.image.root.Lock, g.image.disk.Lock},
	}
	if g.image.snapshot != nil {
		s.inherit = append(s.inherit, g.image.snapshot.Lock)
	}
	return s
}

// resume continues a snapshot. With shared, the memory file follows what the
// guest does, so that it can be saved again.
func (g *Guest) resume(ctx context.Context, memory string, shared bool, state string) error {
	s := g.spec()
	s.memory, s.shared, s.incoming = memory, shared, true
	var err error
	if g.machine, err = startQEMU(ctx, s); err != nil {
		return err
	}
	if err := g.machine.monitor.load(ctx, state); err != nil {
		return fmt.Errorf("%w: %s", err, g.machine.said())
	}
	return g.connect(ctx)
}

// Boot starts a machine that is off, on the disk as it is, and returns when the
// guest can be entered; what systemd starts may still be starting, see Booted.
func (g *Guest) Boot(ctx context.Context) error { return g.boot(ctx, "") }

func (g *Guest) boot(ctx context.Context, memory string) error {
	if g.machine != nil && g.machine.running() {
		return errors.New("boot: the machine is on; PowerCut or WaitExit first")
	}
	g.hangUp()
	s := g.spec()
	s.memory, s.shared = memory, true
	var err error
	if g.machine, err = startQEMU(ctx, s); err != nil {
		return err
	}
	return g.connect(ctx)
}

// Booted waits until systemd has started everything that it starts at boot, and
// returns its word for the outcome: running, or degraded when a unit failed.
func (g *Guest) Booted(ctx context.Context) (string, error) {
	// Before systemd listens on its bus, systemctl fails at once.
	var state string
	err := poll(ctx, 200*time.Millisecond, func() (bool, error) {
		r, err := g.Run(ctx, "systemctl is-system-running --wait")
		state = strings.TrimSpace(r.Stdout)
		return state == "running" || state == "degraded" || state == "maintenance", err
	})
	return state, err
}

// PowerCut ends the machine at once, as pulling the plug does. With PowerSafe
// the disk holds what was flushed, and perhaps more.
func (g *Guest) PowerCut() error {
	err := g.machine.kill()
	g.hangUp()
	return err
}

// WaitExit waits until the machine is off: after a power-off, and after a
// reboot, which ends it too, for Boot to continue.
func (g *Guest) WaitExit(ctx context.Context) error {
	if err := g.machine.wait(ctx); err != nil {
		return fmt.Errorf("wait for the machine to end: %w: %s", err, g.consoleTail())
	}
	g.hangUp()
	return nil
}

// Reboot shuts the guest down in order and boots it again.
func (g *Guest) Reboot(ctx context.Context) error {
	// The connection may end before systemctl does: no error of Run counts.
	g.Run(ctx, "systemctl reboot")
	if err := g.WaitExit(ctx); err != nil {
		return err
	}
	return g.Boot(ctx)
}

// Close ends the machine and removes its disk.
func (g *Guest) Close() error {
	var err error
	if g.machine != nil {
		err = g.machine.kill()
	}
	g.hangUp()
	err = errors.Join(err, os.RemoveAll(g.dir), g.lock.Close())
	return err
}

// Detach leaves a machine that was started with Keep to itself. It runs until
// it is powered off from inside; its disk is removed by the next Start of any
// guest after that.
func (g *Guest) Detach() {
	g.hangUp()
	g.lock.Close()
}

func (g *Guest) hangUp() {
	if g.disconnect != nil {
		g.disconnect()
		g.disconnect = nil
	}
}

// Console returns what the guest printed on its console since it was made.
func (g *Guest) Console() string {
	data, _ := os.ReadFile(filepath.Join(g.dir, "console.log"))
	return string(data)
}

func (g *Guest) consoleTail() string {
	text := strings.TrimSpace(g.Console())
	return text[max(0, len(text)-1000):]
}

// A Command is a script that runs in the guest.
type Command struct {
	guest  *Guest
	script string
	file   string // in the guest, holds its process group
	last   harness.Tail
	done   chan struct{}
	code   int
	err    error
}

// Start starts a script in the guest and streams its output. It is the leader
// of a process group of its own, see Signal.
func (g *Guest) Start(ctx context.Context, script string, stdout, stderr io.Writer) (*Command, error) {
	g.mu.Lock()
	g.commands++
	c := &Command{guest: g, script: script, file: fmt.Sprintf("/run/vm-command-%d", g.commands), done: make(chan struct{})}
	g.mu.Unlock()
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	cmd := g.ssh(ctx, "root@127.0.0.1", fmt.Sprintf("echo $$ > %s; exec bash -c %s", c.file, harness.Quote(script)))
	cmd.Stdout, cmd.Stderr = stdout, io.MultiWriter(stderr, &c.last)
	if err := harness.StartChild(cmd); err != nil {
		return nil, err
	}
	go func() {
		c.code, c.err = g.finished(ctx, script, cmd.Wait(), &c.last)
		close(c.done)
	}()
	return c, nil
}

// Wait waits for the script's end and returns its exit code.
func (c *Command) Wait() (int, error) {
	<-c.done
	return c.code, c.err
}

// Signal sends a signal (TERM, INT …) to every process of the script. One that
// has ended already is no error; Wait says how it ended.
func (c *Command) Signal(ctx context.Context, signal string) error {
	_, err := c.guest.Output(ctx, fmt.Sprintf("until [ -s %s ]; do sleep 0.05; done; kill -s %s -- -$(cat %[1]s) || ! kill -0 -- -$(cat %[1]s)", c.file, signal))
	return err
}
