package vm

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
	"strconv"
	"strings"
	"time"

	"service-manager/tests/harness"
)

// controlSocket is relative to the guest's folder, which ssh runs in: a full
// path may be too long for a socket.
const controlSocket = "ssh"

// sshOptions are for every ssh to the guest: cheap ciphers, since the guest pays
// ten times for them, and no memory of host keys.
func (g *Guest) sshOptions() []string {
	options := []string{"-F", "none", "-i", g.image.root.File("id_ed25519"), "-p", strconv.Itoa(g.port)}
	for _, o := range []string{
		"BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
		"ConnectTimeout=10", "ServerAliveInterval=30", "ServerAliveCountMax=4", "IdentitiesOnly=yes",
		"KexAlgorithms=curve25519-sha256", "Ciphers=aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
	} {
		options = append(options, "-o", o)
	}
	return options
}

// ShellCommand returns a command line that enters the guest, for as long as it
// runs.
func (g *Guest) ShellCommand() string {
	return fmt.Sprintf("ssh -i %s -p %d -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1",
		g.image.root.File("id_ed25519"), g.port)
}

// ssh returns a command that goes through the connection that connect made. It
// never makes one of its own.
func (g *Guest) ssh(ctx context.Context, args ...string) *exec.Cmd {
	full := append(g.sshOptions(), "-S", controlSocket, "-o", "ControlMaster=no", "-o", "ProxyCommand=false")
	cmd := exec.CommandContext(ctx, "ssh", append(full, args...)...)
	cmd.Dir = g.dir
	cmd.WaitDelay = time.Second
	return cmd
}

// connectTimeout bounds the wait for a guest that never answers. A cold boot
// takes 15 seconds on an idle host.
const connectTimeout = 5 * time.Minute

// connect waits until the guest answers, opens the connection that everything
// else goes through, sets the clock (a snapshot has that of its making), and
// renews the forwarded ports.
func (g *Guest) connect(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var last error
	err := poll(limited, 50*time.Millisecond, func() (bool, error) {
		if !g.machine.running() {
			return false, fmt.Errorf("the machine ended: %s", g.machine.said())
		}
		if !sshAnswers(g.port) {
			return false, nil
		}
		// A server that is still starting may greet and then hang up.
		last = g.dial(limited)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("enter the guest: %w: %s", errors.Join(err, last), g.consoleTail())
	}
	for _, f := range g.forwards {
		if err := g.forward(ctx, f); err != nil {
			return err
		}
	}
	_, err = g.Output(ctx, fmt.Sprintf("date -s @%d.%09d", time.Now().Unix(), time.Now().Nanosecond()))
	return err
}

// dial opens the shared connection and waits until it can be used.
func (g *Guest) dial(ctx context.Context) error {
	var said bytes.Buffer
	master := exec.Command("ssh", append(g.sshOptions(), "-N", "-M", "-S", controlSocket, "root@127.0.0.1")...)
	master.Dir, master.Stderr = g.dir, &said
	if err := harness.StartChild(master); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		master.Wait()
		close(ended)
	}()
	g.disconnect = func() {
		master.Process.Kill()
		<-ended
		os.Remove(filepath.Join(g.dir, controlSocket)) // or the next one does not listen
	}
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		select {
		case <-ended:
			return false, fmt.Errorf("ssh to the guest: %s", bytes.TrimSpace(said.Bytes()))
		default:
		}
		return harness.RunChild(g.ssh(ctx, "-O", "check", "root@127.0.0.1")) == nil, nil
	})
	if err != nil {
		g.hangUp()
	}
	return err
}

// sshAnswers reports whether a server greets on the port. QEMU itself accepts
// connections from the first moment.
func sshAnswers(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	// A connection from before the guest listened hangs, so not much longer.
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	greeting := make([]byte, 4)
	_, err = io.ReadFull(conn, greeting)
	return err == nil && string(greeting) == "SSH-"
}

// forward has the connection forward a port, with ssh's own syntax (-L or -R).
func (g *Guest) forward(ctx context.Context, f []string) error {
	cmd := g.ssh(ctx, append(append([]string{"-O", "forward"}, f...), "root@127.0.0.1")...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := harness.RunChild(cmd); err != nil {
		return fmt.Errorf("forward %s: %w: %s", strings.Join(f, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// ReverseForward makes the host's address (host:port) reachable in the guest as
// 127.0.0.1:guestPort, across reboots and power cuts too.
func (g *Guest) ReverseForward(ctx context.Context, guestPort int, hostAddress string) error {
	f := []string{"-R", fmt.Sprintf("127.0.0.1:%d:%s", guestPort, hostAddress)}
	g.forwards = append(g.forwards, f)
	return g.forward(ctx, f)
}

// Forward makes an address in the guest (host:port, as the guest sees it)
// reachable on the host, and returns the host's address for it.
func (g *Guest) Forward(ctx context.Context, guestAddress string) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	local := fmt.Sprintf("127.0.0.1:%d", port)
	f := []string{"-L", local + ":" + guestAddress}
	g.forwards = append(g.forwards, f)
	return local, g.forward(ctx, f)
}

// A Result is what a command in the guest left.
type Result struct {
	Stdout, Stderr string
	ExitCode       int
}

// Run runs a shell script as root in the guest. The error says that it could not
// be run or that its end could not be seen; a script that fails has an ExitCode.
func (g *Guest) Run(ctx context.Context, script string) (Result, error) {
	var out, errs bytes.Buffer
	code, err := g.run(ctx, script, nil, &out, &errs)
	return Result{out.String(), errs.String(), code}, err
}

// Output runs a script and returns its standard output without the trailing
// newlines; a script that fails is an error with its last lines.
func (g *Guest) Output(ctx context.Context, script string) (string, error) {
	r, err := g.Run(ctx, script)
	if err != nil {
		return "", err
	}
	if r.ExitCode != 0 {
		text := strings.TrimSpace(r.Stdout + r.Stderr)
		return r.Stdout, fmt.Errorf("in the guest: %s: exit status %d: %s", harness.Shorten(script), r.ExitCode, text[max(0, len(text)-2000):])
	}
	return strings.TrimRight(r.Stdout, "\n"), nil
}

func (g *Guest) run(ctx context.Context, script string, in io.Reader, out, errs io.Writer) (int, error) {
	cmd := g.ssh(ctx, "root@127.0.0.1", script)
	var last harness.Tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, io.MultiWriter(errs, &last)
	return g.finished(ctx, script, harness.RunChild(cmd), &last)
}

// finished turns the end of an ssh command into the script's exit code.
func (g *Guest) finished(ctx context.Context, script string, err error, last *harness.Tail) (int, error) {
	code, exited := harness.ExitCode(err)
	switch {
	case ctx.Err() != nil:
		return -1, fmt.Errorf("in the guest: %s: %w", harness.Shorten(script), ctx.Err())
	case !exited, code == 255: // ssh's own: the connection was lost, or never there
		return -1, fmt.Errorf("in the guest: %s: %w: %s", harness.Shorten(script), errors.Join(err), last.String())
	}
	return code, nil
}

// PutFile writes a file in the guest, and the folders that it needs.
func (g *Guest) PutFile(ctx context.Context, guestPath string, content []byte, mode uint32) error {
	script := fmt.Sprintf("mkdir -p %s && cat > %s && chmod %o %[2]s", harness.Quote(filepath.Dir(guestPath)), harness.Quote(guestPath), mode)
	return g.pipe(ctx, script, bytes.NewReader(content))
}

// Put copies a local file or folder, with what is in it, to guestPath.
func (g *Guest) Put(ctx context.Context, local, guestPath string) error {
	// tar names a single file after itself, so it is renamed on the way (S: but
	// not what symbolic links point to).
	dir, base := filepath.Split(filepath.Clean(local))
	if dir == "" {
		dir = "."
	}
	pack := exec.CommandContext(ctx, "tar", "-C", dir, "--numeric-owner", "--owner=0", "--group=0",
		"--transform", `s,^[^/]*,./target,S`, "-cf", "-", base)
	stream, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	pack.Stderr = &said
	if err := harness.StartChild(pack); err != nil {
		return err
	}
	script := fmt.Sprintf(`set -e; t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; tar -C "$t" -xf -; mkdir -p %s
if [ -d "$t/target" ]; then mkdir -p %s; cp -a "$t/target/." %[2]s/; else mv "$t/target" %[2]s; fi`,
		harness.Quote(filepath.Dir(guestPath)), harness.Quote(guestPath))
	err = g.pipe(ctx, script, stream)
	if packErr := pack.Wait(); packErr != nil && err == nil {
		return fmt.Errorf("put %s: %w: %s", local, packErr, bytes.TrimSpace(said.Bytes()))
	}
	return err
}

// pipe runs a script with a standard input.
func (g *Guest) pipe(ctx context.Context, script string, in io.Reader) error {
	var last harness.Tail
	code, err := g.run(ctx, script, in, &last, &last)
	if err == nil && code != 0 {
		err = fmt.Errorf("in the guest: %s: exit status %d: %s", harness.Shorten(script), code, last.String())
	}
	return err
}

// freePort returns a free loopback port.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
