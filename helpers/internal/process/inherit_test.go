package process

import (
	"context"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInherit(t *testing.T) {
	cmd, stdin, p := child(t)
	fd, err := p.Inheritable()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	inherited, err := Inherited(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	ended := make(chan error, 1)
	go func() { ended <- inherited.Wait(context.Background()) }()
	stdin.Close()
	if err := <-ended; err != nil {
		t.Errorf("Wait on an inherited handle = %v; want nil", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// The container of a user's unit may run as another user.
func TestInheritAnothersProcess(t *testing.T) {
	p, err := Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	fd, err := p.Inheritable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		asNobody(t)
	}
	inherited, err := Inherited(fd)
	if err != nil {
		t.Fatal(err)
	}
	inherited.Close()
}

// asNobody takes root's rights from this thread, which ends with the test.
func asNobody(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	const nobody = 65534
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
		t.Fatal(errno)
	}
}

func TestInheritedRefuses(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []int{-1, int(null.Fd()), 1 << 20} {
		if _, err := Inherited(fd); err == nil {
			t.Errorf("descriptor %d is taken for a process", fd)
		}
	}
}
