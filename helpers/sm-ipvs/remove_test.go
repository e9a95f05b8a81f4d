package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/units/filelock"
)

// locked is a load balancer whose lock another program holds, from the first or from the
// second time on that it is needed.
type locked struct {
	file   string
	free   int // how many times it is to be had
	closed bool
}

func (l *locked) lock(ctx context.Context) error {
	if l.free > 0 {
		l.free--
		return nil
	}
	if _, ends := ctx.Deadline(); !ends {
		return errors.New("it would wait for ever")
	}
	file, err := filelock.NewWaiter(nil).Open(ctx, l.file)
	if err == nil {
		err = file.Close()
	}
	return err
}

func (l *locked) Remove(ctx context.Context, _ ipvs.Address, _ netip.AddrPort, _ string) error {
	return l.lock(ctx)
}

func (l *locked) Restore(ctx context.Context, _ ...ipvs.Address) ([]ipvs.Place, error) {
	return nil, l.lock(ctx)
}

func (l *locked) Close() { l.closed = true }

// A unit's next command has to run even if the lock is never given back.
func TestRemoveWaitsForTheLockWithinLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := filelock.NewWaiter(nil).Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	for free, name := range []string{"for the removal", "for the rest of its address", "not at all"} {
		t.Run(name, func(t *testing.T) {
			l := &locked{file: path, free: free}
			w := command.World{Args: []string{"172.17.0.1:7001", "172.17.0.2:80"}, Env: func(string) (string, bool) { return "", false }}
			err := removeFrom(t.Context(), w, func() (balancer, error) { return l, nil }, 10*time.Millisecond)
			want := fmt.Sprintf("remove 172.17.0.2:80 from 172.17.0.1:7001: lock %s, which process %d (%s) holds: waited 10ms", path, os.Getpid(), bytes.TrimSpace(comm))
			if free == 2 {
				want = "<nil>"
			}
			if fmt.Sprint(err) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if !l.closed {
				t.Error("the load balancer was not closed")
			}
		})
	}
}
