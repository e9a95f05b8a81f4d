package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"service-manager/tests/harness"
)

// The machine. A snapshot loads only into a machine of the same shape, so these
// are part of every snapshot's key (see machineShape).
const (
	processors = 2
	memoryMB   = 2048
	// Under emulation forks are three times faster than with "-cpu max": fewer
	// CPU features, less for the kernel to save and patch.
	processorModel = "Nehalem"
	kernelOptions  = "console=ttyS0 quiet loglevel=4 net.ifnames=0 mitigations=off nokaslr no_timer_check random.trust_cpu=1 tsc=reliable panic=-1 audit=0 apparmor=0 systemd.show_status=false"
)

// machineShape is hashed into the keys of snapshots.
func machineShape() string {
	return fmt.Sprint(processors, memoryMB, processorModel, kernelOptions, qemuArguments(qemuSpec{}))
}

// emulator runs programs of the unpacked QEMU through its own loader, so that
// they need nothing of the host.
type emulator struct{ root string }

func (e emulator) command(program string, args ...string) *exec.Cmd {
	libraries := e.root + "/usr/lib/x86_64-linux-gnu"
	full := []string{"--library-path", libraries + ":" + libraries + "/pulseaudio", e.root + "/usr/bin/" + program}
	return exec.Command(e.root+"/usr/lib64/ld-linux-x86-64.so.2", append(full, args...)...)
}

// overlay makes a disk image that holds what differs from backing. A relative
// backing path is relative to the overlay's folder.
func (e emulator) overlay(path, backing, backingFormat string) error {
	out, err := e.command("qemu-img", "create", "-q", "-f", "qcow2", "-F", backingFormat, "-b", backing, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("create disk %s: %w: %s", path, err, bytes.TrimSpace(out))
	}
	return nil
}

// qemuSpec is what differs between one start of a machine and another.
type qemuSpec struct {
	emulator  emulator
	dir       string // console.log and qemu.log go here
	kernel    string
	initrd    string
	disk      string // qcow2
	powerSafe bool   // honour the guest's flushes
	memory    string // file, empty for none
	shared    bool   // write the guest's memory to the file, rather than copy it on write
	incoming  bool   // wait for a snapshot's state
	port      int    // of 127.0.0.1, forwarded to the guest's port 22
	keep      bool   // do not die with this process
	inherit   []*os.File
}

func qemuArguments(s qemuSpec) []string {
	// Without flushes a snapshot or a test is faster; what is written is there anyway for as
	// long as the host runs.
	cache := "unsafe"
	if s.powerSafe {
		cache = "writeback"
	}
	memory := fmt.Sprintf("memory-backend-ram,id=ram,size=%dM", memoryMB)
	if s.memory != "" {
		share := "off"
		if s.shared {
			share = "on"
		}
		memory = fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s,share=%s", memoryMB, s.memory, share)
	}
	args := []string{
		"-L", s.emulator.root + "/usr/share/qemu", "-L", s.emulator.root + "/usr/share/seabios",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "q35,hpet=off,memory-backend=ram", "-accel", "tcg,thread=multi,tb-size=1024",
		"-cpu", processorModel, "-smp", fmt.Sprint(processors), "-m", fmt.Sprint(memoryMB),
		"-object", memory,
		"-kernel", s.kernel, "-initrd", s.initrd, "-append", kernelOptions,
		"-drive", "if=none,id=d0,file=" + s.disk + ",format=qcow2,cache=" + cache + ",discard=unmap",
		"-device", "virtio-blk-pci,drive=d0",
		// restrict: the guest reaches nothing outside itself.
		"-netdev", fmt.Sprintf("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", s.port),
		"-device", "virtio-net-pci,romfile=,netdev=n0",
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path=" + filepath.Join(s.dir, "console.log"), "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
	}
	if s.incoming {
		args = append(args, "-incoming", "defer")
	}
	return args
}

// A machine is a running QEMU.
type machine struct {
	pid     int
	monitor *monitor
	exited  chan struct{} // closed when the process is gone
	log     string        // path of what QEMU said
}

// startQEMU starts a machine. Its disk and memory stay as they are when it ends.
func startQEMU(ctx context.Context, s qemuSpec) (*machine, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	logPath := filepath.Join(s.dir, "qemu.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := s.emulator.command("qemu-system-x86_64", qemuArguments(s)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = append([]*os.File{theirs}, s.inherit...)
	// Its own session: Ctrl-C in a terminal is for the tests, which then end
	// their machines in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.keep {
		err = cmd.Start()
	} else {
		err = harness.StartChild(cmd)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	m := &machine{pid: cmd.Process.Pid, exited: make(chan struct{}), log: logPath}
	go func() {
		cmd.Wait()
		close(m.exited)
	}()
	if m.monitor, err = newMonitor(ctx, conn); err != nil {
		m.kill()
		return nil, fmt.Errorf("%w: %s", err, m.said())
	}
	return m, nil
}

// said returns the last of what QEMU printed.
func (m *machine) said() string {
	data, _ := os.ReadFile(m.log)
	text := strings.TrimSpace(string(data))
	return text[max(0, len(text)-500):]
}

// kill ends the machine as a power cut does, and waits until it is gone.
func (m *machine) kill() error {
	select {
	case <-m.exited:
		return nil
	default:
	}
	err := syscall.Kill(m.pid, syscall.SIGKILL)
	<-m.exited
	if m.monitor != nil {
		m.monitor.conn.Close()
	}
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// quit ends the machine after QEMU has written its disk images out.
func (m *machine) quit(ctx context.Context) error {
	if err := m.monitor.execute(ctx, "quit", nil, nil); err != nil {
		return err
	}
	defer m.monitor.conn.Close()
	return m.wait(ctx)
}

// wait waits until the machine is gone.
func (m *machine) wait(ctx context.Context) error {
	select {
	case <-m.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *machine) running() bool {
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// socketPair returns two ends of a connection, one to be inherited by a child. It
// needs no path, which may be too long for a socket.
func socketPair() (net.Conn, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
