package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// CgroupRoot returns where the unified hierarchy of control groups is mounted.
func CgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], nil
		}
	}
	return "", errors.New("no control groups of version 2 are mounted")
}

// HasIPVS reports whether the kernel of this host has IPVS, also in containers.
func HasIPVS() bool {
	_ = exec.Command("modprobe", "ip_vs").Run()
	_, err := os.Stat("/proc/net/ip_vs")
	return err == nil
}

// NativeProblem says why native machines cannot run here; it is nil when they can.
var NativeProblem = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed")
	}
	if _, err := CgroupRoot(); err != nil {
		return err
	}
	if missing := Missing("systemd-nspawn", "nsenter", "busybox"); missing != nil {
		return fmt.Errorf("the host lacks %s; apt-get install systemd-container util-linux busybox-static", strings.Join(missing, ", "))
	}
	if err := trySeccomp(); err != nil {
		return err
	}
	return tryNspawn()
})

const seccompProbe = "SERVICE_MANAGER_SECCOMP_PROBE"

// init makes this program its own probe: a kernel that hangs must not take the
// tests along.
func init() {
	if os.Getenv(seccompProbe) != "" {
		os.Exit(loadSeccompFilter())
	}
}

// trySeccomp has a child load a filter of system calls, which Docker does for
// each container. There are kernels in a state in which that never ends.
func trySeccomp() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), seccompProbe+"=1")
	if err := StartChild(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the kernel takes no filter of system calls: %w", err)
		}
		return nil
	case <-time.After(2 * time.Second):
		_ = cmd.Process.Kill() // without waiting: it may not end
		return errors.New("the kernel does not take a filter of system calls within 2s; this host needs a reboot")
	}
}

// tryNspawn starts the smallest of containers.
func tryNspawn() error {
	root, err := os.MkdirTemp("", "service-manager-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	for _, dir := range []string{"usr/bin", "etc", "dev", "proc", "sys", "run", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(root, "usr/bin/busybox"), program, 0o755),
		os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=probe\n"), 0o644))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := startContainer(ctx, filepath.Base(root), "exec systemd-nspawn --quiet "+nspawnFlags+" -D "+Quote(root)+" /usr/bin/busybox true", nil)
	if err != nil {
		return err
	}
	defer c.remove()
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.kill()
		return errors.New("a container of systemd-nspawn does not start within 20s")
	}
	if c.err != nil {
		return fmt.Errorf("no container of systemd-nspawn starts: %w: %s", c.err, c.said())
	}
	return nil
}

// nspawnFlags are those of every container. Nothing in it is registered with the
// host's systemd, whose place may be taken by anything.
const nspawnFlags = "--register=no --keep-unit --private-network"

// A container is a process in namespaces of its own, with all that it starts. It
// ends with this process, however that ends.
type container struct {
	pid    int
	cgroup string
	log    *os.File
	ended  chan struct{}
	err    error // after the end
}

// startContainer runs a script as the first process of a container. Its mounts are
// its own; its control group has that name, below one for all containers.
func startContainer(ctx context.Context, name, script string, inherit []*os.File) (*container, error) {
	groups, err := CgroupRoot()
	if err != nil {
		return nil, err
	}
	c := &container{cgroup: filepath.Join(groups, "service-manager-tests", name), ended: make(chan struct{})}
	if err := os.MkdirAll(c.cgroup, 0o755); err != nil {
		return nil, err
	}
	if c.log, err = os.CreateTemp("", "service-manager-container-"); err != nil {
		return nil, err
	}
	os.Remove(c.log.Name())
	cmd := exec.Command("bash", "-c", "set -e\nmount -t proc proc /proc\necho 0 > "+Quote(c.cgroup+"/cgroup.procs")+"\n"+script)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.ExtraFiles = inherit
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if err := StartChild(cmd); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	c.pid = cmd.Process.Pid
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// kill ends the container and all of its processes, and waits for that.
func (c *container) kill() {
	_ = syscall.Kill(c.pid, syscall.SIGKILL)
	<-c.ended
}

// said returns the last of what the container printed.
func (c *container) said() string {
	text := make([]byte, 4000)
	end, _ := c.log.Seek(0, 2)
	n, _ := c.log.ReadAt(text, max(0, end-int64(len(text))))
	return strings.TrimSpace(string(text[:n]))
}

// remove removes the control groups of a container that has ended.
func (c *container) remove() error {
	c.log.Close()
	return removeCgroups(c.cgroup)
}

// removeCgroups removes a control group and those below. The kernel may need a
// moment after the end of the last process.
func removeCgroups(path string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := removeCgroupsOnce(path)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func removeCgroupsOnce(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, removeCgroupsOnce(filepath.Join(path, entry.Name())))
		}
	}
	if err != nil {
		return err
	}
	return syscall.Rmdir(path)
}

// child returns the child of a process that runs such a program, or 0.
func child(parent int, program string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if open < 0 || end < open {
			continue
		}
		if fields := strings.Fields(string(stat[end+1:])); len(fields) > 1 && fields[1] == strconv.Itoa(parent) && string(stat[open+1:end]) == program {
			pid, _ := strconv.Atoi(strings.TrimSpace(string(stat[:open])))
			return pid
		}
	}
	return 0
}
