package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A NativeImage is what native machines start from: the files of a Debian release,
// and what was changed in them since.
type NativeImage struct {
	cache  Cache
	root   *Entry
	layers []*Entry // up/ and docker/, the last one first
}

// machineScript is changed when the way that machines are saved changes.
const machineScript = "1"

// fakeModprobe lets install.sh find IPVS where the kernel has none.
const fakeModprobe = `#!/bin/sh
[ "$*" = ip_vs ] || exec /usr/sbin/modprobe "$@"
`

// NativeBase returns a machine with Docker and the test images. What is not in the
// cache is built, which takes minutes, Internet access and root; log is told.
func NativeBase(ctx context.Context, release string, log io.Writer) (*NativeImage, error) {
	cache, err := NewCache(log)
	if err != nil {
		return nil, err
	}
	i := &NativeImage{cache: cache}
	if i.root, err = cache.Root(ctx, release); err != nil {
		return nil, err
	}
	images, err := cache.TestImages(ctx)
	if err != nil {
		return nil, err
	}
	return i.Derive(ctx, "native-"+release, fmt.Sprint(images.Key, HasIPVS()), func(m *NativeMachine) error {
		if !HasIPVS() {
			if err := m.PutFile(ctx, "/usr/local/sbin/modprobe", []byte(fakeModprobe), 0o755); err != nil {
				return err
			}
		}
		return images.ImportInto(ctx, m)
	})
}

// Derive returns a machine that continues the image after provision worked on it
// and it was shut down. Name says what it is for; key stands for everything that
// provision depends on.
func (i *NativeImage) Derive(ctx context.Context, name, key string, provision func(*NativeMachine) error) (*NativeImage, error) {
	parent := ""
	if len(i.layers) > 0 {
		parent = i.layers[0].Path
	}
	key = Hash(machineScript, filepath.Base(i.root.Path), parent, key)
	layer, err := OpenEntry(ctx, i.cache.Log, i.cache.Dir, name, key, func(dir string) error {
		m, err := i.start(ctx, dir)
		if err != nil {
			return err
		}
		defer m.Close()
		if err := provision(m); err != nil {
			return err
		}
		if err := m.powerOff(ctx); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(dir, "work"))
	})
	if err != nil {
		return nil, err
	}
	return &NativeImage{i.cache, i.root, append([]*Entry{layer}, i.layers...)}, nil
}

// A NativeMachine is a running systemd in a container, with all that it has
// started.
type NativeMachine struct {
	container *container
	leader    int    // its process 1, as this host counts
	dir       string // up/, work/, docker/
	own       *os.File
	forwards  []net.Listener
}

// Start starts a machine and waits until it has booted.
func (i *NativeImage) Start(ctx context.Context) (*NativeMachine, error) {
	runs := filepath.Join(i.cache.Dir, "native")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, err
	}
	removeLeft(runs)
	dir, err := os.MkdirTemp(runs, "machine-")
	if err != nil {
		return nil, err
	}
	own, err := os.Open(dir)
	if err == nil {
		err = syscall.Flock(int(own.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		return nil, err
	}
	m, err := i.start(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir), own.Close())
	}
	m.own = own
	return m, nil
}

// removeLeft removes what machines left whose tests were killed.
func removeLeft(runs string) {
	left, _ := os.ReadDir(runs)
	for _, d := range left {
		path := filepath.Join(runs, d.Name())
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < time.Minute { // it may not be locked yet
			continue
		}
		_ = RemoveUnused(path)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			if groups, err := CgroupRoot(); err == nil {
				_ = removeCgroupsOnce(filepath.Join(groups, "service-manager-tests", d.Name()))
			}
		}
	}
}

func (i *NativeImage) start(ctx context.Context, dir string) (*NativeMachine, error) {
	lower := []string{}
	inherit := []*os.File{i.root.Lock}
	docker := ""
	for _, layer := range i.layers {
		lower = append(lower, layer.File("up"))
		inherit = append(inherit, layer.Lock)
		if docker == "" {
			docker = layer.File("docker")
		}
	}
	lower = append(lower, i.root.File("root"))
	for _, d := range []string{"up", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	// Docker cannot keep its layers on another overlay.
	if docker == "" {
		if err := os.Mkdir(filepath.Join(dir, "docker"), 0o711); err != nil {
			return nil, err
		}
	} else if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", docker, filepath.Join(dir, "docker")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy Docker's folder: %w: %s", err, out)
	}
	script := fmt.Sprintf(`cd %s
mount -t overlay overlay -o %s root
systemd-nspawn %s -D root --machine=vmguest --console=read-only --capability=all --system-call-filter='@keyring bpf' \
  --setenv=SYSTEMD_SECCOMP=0 --bind=%[1]s/docker:/var/lib/docker -b </dev/null &
wait $!`, Quote(dir), Quote("lowerdir="+strings.Join(lower, ":")+",upperdir=up,workdir=work"), nspawnFlags)
	c, err := startContainer(ctx, filepath.Base(dir), script, inherit)
	if err != nil {
		return nil, err
	}
	m := &NativeMachine{container: c, dir: dir}
	if err := m.booted(ctx); err != nil {
		said := c.said()
		return nil, errors.Join(fmt.Errorf("start a machine: %w: %s", err, said), m.end())
	}
	return m, nil
}

// booted waits until systemd has started everything.
func (m *NativeMachine) booted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for m.leader == 0 {
		if nspawn := child(m.container.pid, "systemd-nspawn"); nspawn != 0 {
			m.leader = child(nspawn, "systemd")
		}
		if err := m.pause(ctx); err != nil {
			return err
		}
	}
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", m.leader))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Split(string(environment), "\x00"), "SYSTEMD_SECCOMP=0") {
		return errors.New("process 1 does not have SYSTEMD_SECCOMP=0")
	}
	for {
		// Before systemd listens on its bus, systemctl fails at once.
		state, _, _, err := m.Run(ctx, "systemctl is-system-running --wait")
		switch strings.TrimSpace(state) {
		case "running":
			return nil
		case "degraded", "maintenance":
			failed, _, _, _ := m.Run(ctx, "systemctl --failed --no-legend --plain; journalctl -b --no-pager -p warning | tail -30")
			return fmt.Errorf("it booted %s: %s", strings.TrimSpace(state), failed)
		}
		if err := errors.Join(err, m.pause(ctx)); err != nil {
			return err
		}
	}
}

func (m *NativeMachine) pause(ctx context.Context) error {
	select {
	case <-m.container.ended:
		return fmt.Errorf("it has ended: %w", errors.Join(m.container.err))
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond): // nothing tells of a new process
		return nil
	}
}

// powerOff shuts the machine down in order.
func (m *NativeMachine) powerOff(ctx context.Context) error {
	m.Run(ctx, "systemctl poweroff") // it may end before systemctl does
	select {
	case <-m.container.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut the machine down: %w", ctx.Err())
	}
}

func (m *NativeMachine) end() error {
	for _, l := range m.forwards {
		l.Close()
	}
	m.container.kill()
	return m.container.remove()
}

// Close ends the machine and removes its files.
func (m *NativeMachine) Close() error {
	err := m.end()
	if m.own != nil {
		err = errors.Join(err, os.RemoveAll(m.dir), m.own.Close())
	}
	return err
}

// enter returns a command that runs a program in the machine, as root.
func (m *NativeMachine) enter(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"-t", fmt.Sprint(m.leader), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "/usr/bin/env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", all...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs a shell script as root. The error says that its end could not be seen.
func (m *NativeMachine) Run(ctx context.Context, script string) (stdout, stderr string, status int, err error) {
	var out, errs bytes.Buffer
	cmd := m.enter(ctx, "bash", "-c", script)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = RunChild(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // what it left running has its output
	}
	status, exited := ExitCode(err)
	if ctx.Err() != nil {
		err = fmt.Errorf("in the machine: %s: %w", Shorten(script), context.Cause(ctx))
	} else if exited {
		err = nil
	} else {
		err = fmt.Errorf("in the machine: %s: %w: %s", Shorten(script), err, errs.String())
	}
	return out.String(), errs.String(), status, err
}

// Output runs a script and returns its standard output without the trailing
// newlines; a script that fails is an error with its last lines.
func (m *NativeMachine) Output(ctx context.Context, script string) (string, error) {
	out, errs, status, err := m.Run(ctx, script)
	if err == nil && status != 0 {
		text := strings.TrimSpace(out + errs)
		err = fmt.Errorf("in the machine: %s: exit status %d: %s", Shorten(script), status, text[max(0, len(text)-2000):])
	}
	return strings.TrimRight(out, "\n"), err
}

// PutFile writes a file, and the folders that it needs.
func (m *NativeMachine) PutFile(ctx context.Context, path string, content []byte, mode uint32) error {
	cmd := m.enter(ctx, "bash", "-c", fmt.Sprintf("mkdir -p %s && cat > %s && chmod %o %[2]s", Quote(filepath.Dir(path)), Quote(path), mode))
	var said Tail
	cmd.Stdin, cmd.Stderr = bytes.NewReader(content), &said
	if err := RunChild(cmd); err != nil {
		return fmt.Errorf("put %s: %w: %s", path, err, said.String())
	}
	return nil
}

// Put copies a local file or folder, with what is in it.
func (m *NativeMachine) Put(ctx context.Context, local, path string) error {
	info, err := os.Stat(local)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		content, err := os.ReadFile(local)
		if err != nil {
			return err
		}
		return m.PutFile(ctx, path, content, uint32(info.Mode().Perm()))
	}
	pack := exec.CommandContext(ctx, "tar", "-C", local, "--numeric-owner", "--owner=0", "--group=0", "-cf", "-", ".")
	archive, err := pack.Output()
	if err != nil {
		return fmt.Errorf("put %s: %w", local, err)
	}
	cmd := m.enter(ctx, "bash", "-c", fmt.Sprintf("mkdir -p %s && tar -C %[1]s -xf -", Quote(path)))
	var said Tail
	cmd.Stdin, cmd.Stderr = bytes.NewReader(archive), &said
	if err := RunChild(cmd); err != nil {
		return fmt.Errorf("put %s: %w: %s", path, err, said.String())
	}
	return nil
}

// ReverseForward makes the host's address (host:port) reachable in the machine as
// 127.0.0.1:port.
func (m *NativeMachine) ReverseForward(port int, hostAddress string) error {
	listener, err := m.listen(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("listen in the machine: %w", err)
	}
	m.forwards = append(m.forwards, listener)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed, with the machine
			}
			go relay(conn, hostAddress)
		}
	}()
	return nil
}

// relay joins a connection with one to the address.
func relay(conn net.Conn, address string) {
	defer conn.Close()
	there, err := net.Dial("tcp", address)
	if err != nil {
		return // as if nothing listened
	}
	defer there.Close()
	go func() {
		defer there.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(there, conn)
	}()
	_, _ = io.Copy(conn, there)
}

// listen listens in the machine's network.
func (m *NativeMachine) listen(address string) (listener net.Listener, err error) {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.leader))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = net.Listen("tcp", address)
		}
	}()
	<-done
	return listener, err
}
