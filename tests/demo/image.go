package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"service-manager/tests/harness"
	"service-manager/tests/vm"
)

// bundlePath is where the bundle is in the guest.
const bundlePath = "/root/service-manager"

// bundle builds the product as for a machine without Go.
func bundle(ctx context.Context) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "service-manager-demo-"); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "./install.sh", "--bundle", dir).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("install.sh --bundle: %w: %s", err, out)
	}
	return dir, nil
}

// image returns a machine with Docker in which the bundle lies, not installed.
// It is kept, like all parts of it, for the next time.
func (s *stage) image(ctx context.Context) (*vm.Image, error) {
	dir, err := bundle(ctx)
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		return nil, err
	}
	key, err := harness.HashDir(dir)
	if err != nil {
		return nil, err
	}
	base, err := vm.Base(ctx, "bookworm", &lineWriter{line: s.building})
	if err != nil {
		return nil, err
	}
	return base.Derive(ctx, "bundled", key, func(ctx context.Context, g *vm.Guest) error {
		return g.Put(ctx, dir, bundlePath)
	})
}

// parts are what package vm makes, in the order that it makes them.
var parts = map[string]string{
	"qemu":          "the emulator: QEMU, unpacked from Debian's package",
	"disk-bookworm": "the disk: Debian 12 with Docker",
	"nginx":         "the container image: Debian's nginx",
	"app":           "a test application",
	"load":          "the load client",
	"base":          "the first boot, saved",
	"bundled":       "the machine with the bundle in it, saved",
}

// slow are the parts that take minutes.
var slow = map[string]bool{"qemu": true, "disk-bookworm": true, "nginx": true, "base": true}

var (
	building = regexp.MustCompile(`^vm: building (.+)-[0-9a-f]{16}$`)
	built    = regexp.MustCompile(`^vm: built (.+)-[0-9a-f]{16} in ([0-9.]+s), ([0-9]+ MB)$`)
)

// building tells of a line of package vm's log. What a part takes is told when
// it is made, since there may be minutes until then.
func (s *stage) building(line string) {
	if m := building.FindStringSubmatch(line); m != nil {
		if !s.firstTime && slow[m[1]] {
			s.firstTime = true
			s.page.say("Making the machine takes some minutes the first time; it is kept in the cache of the user's home folder.")
		}
		s.doing.Store("making " + partName(m[1]))
		if s.page.width == 0 {
			s.page.print("   making %s", partName(m[1]))
		}
	} else if m := built.FindStringSubmatch(line); m != nil {
		s.doing.Store("making the machine")
		s.page.print("   made %s (%s, %s)", partName(m[1]), m[2], m[3])
	} else if strings.HasPrefix(line, "vm: waiting for another process") {
		s.doing.Store("waiting for another run that makes the same machine")
		if s.page.width == 0 {
			s.page.print("   waiting for another run that makes the same machine")
		}
	}
}

func partName(name string) string {
	if text, ok := parts[name]; ok {
		return text
	}
	return name
}

// while shows in the live line what is being done, and for how long, until f
// returns.
func (s *stage) while(what string, f func() error) error {
	s.doing.Store(what)
	begun := time.Now()
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				s.page.live(fmt.Sprintf("%3.0f s  %s …", time.Since(begun).Seconds(), s.doing.Load()))
			}
		}
	}()
	err := f()
	close(ended)
	<-stopped
	s.page.endLive("")
	return err
}

// loadAverage returns the host's load average of the last minute.
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	var average float64
	fmt.Sscan(string(text), &average)
	return average
}
