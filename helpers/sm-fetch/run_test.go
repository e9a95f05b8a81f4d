package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
	"service-manager/units"
	"service-manager/units/host"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// fakeSystem stands in for systemd. A reload runs the generator's function for real.
type fakeSystem struct {
	root string
	hold chan struct{} // when set, a stop waits until it is closed

	mu      sync.Mutex
	reloads int
	stops   []name.Service
	// forgotten are the services whose failures were forgotten
	forgotten []name.Service
	fail      error // that both return
}

func (f *fakeSystem) reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.reloads++
	dir := filepath.Join(f.root, generated)
	h, _ := host.Read(f.root, nil)
	err := os.RemoveAll(dir)
	for _, file := range units.Render(h) {
		path := filepath.Join(dir, file.Path)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755))
		if file.Target != "" {
			err = errors.Join(err, os.Symlink(file.Target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, file.Content, 0o644))
		}
	}
	return err
}

func (f *fakeSystem) stop(ctx context.Context, service name.Service, progress func(string)) error {
	f.mu.Lock()
	f.stops = append(f.stops, service)
	hold, fail := f.hold, f.fail
	f.mu.Unlock()
	if fail != nil {
		return fail
	}
	progress(service.Manager())
	if hold == nil {
		return nil
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fakeSystem) forget(_ context.Context, service name.Service) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.forgotten = append(f.forgotten, service)
	return nil
}

func (f *fakeSystem) busy(context.Context, name.Service) ([]name.Rev, error) { return nil, nil }

func (f *fakeSystem) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeSystem) counts() (reloads, stops int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reloads, len(f.stops)
}

func (f *fakeSystem) forgot(service name.Service) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.forgotten, service)
}

// machine is the root of a host with an sm-fetch.
type machine struct {
	t      *testing.T
	root   string
	env    map[string]string
	system *fakeSystem
	store  revision.Store

	mu     sync.Mutex
	log    bytes.Buffer
	out    bytes.Buffer
	notes  []string
	status string
}

func newMachine(t *testing.T) *machine {
	root := t.TempDir()
	return &machine{
		t:      t,
		root:   root,
		env:    make(map[string]string),
		system: &fakeSystem{root: root},
		store:  revision.Store{Root: filepath.Join(root, revision.Root), Run: filepath.Join(root, revision.Run)},
	}
}

// Write takes what sm-fetch prints to standard error.
func (m *machine) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

func (m *machine) world(args ...string) command.World {
	return command.World{
		Args:   args,
		Stdout: &m.out,
		Stderr: m,
		Env:    func(name string) (string, bool) { v, ok := m.env[name]; return v, ok },
		Notify: notify.To(func(state string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if status, ok := strings.CutPrefix(state, "STATUS="); ok {
				m.status = status
			} else {
				m.notes = append(m.notes, state)
			}
		}),
	}
}

// follow runs sm-fetch follow until the returned function is called.
func (m *machine) follow() (stop func()) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, m.world("follow", "--root", m.root), m.system) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			m.t.Errorf("sm-fetch follow ended with %v", err)
		}
	}
	m.t.Cleanup(stop)
	return stop
}

func (m *machine) once(services ...string) error {
	return run(m.t.Context(), m.world(append([]string{"once", "--root", m.root}, services...)...), m.system)
}

// eventually waits until a condition holds.
func (m *machine) eventually(what string, holds func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if holds() {
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Fatalf("%s: does not come true; log:\n%s\nstatus: %s", what, m.log.String(), m.status)
}

// logged reports how often a text is in the log.
func (m *machine) logged(text string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Count(m.log.String(), text)
}

func (m *machine) waitStatus(text string) {
	m.t.Helper()
	m.eventually("status "+text, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return strings.Contains(m.status, text)
	})
}

func (m *machine) waitReady() {
	m.t.Helper()
	m.eventually("ready", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.Contains(m.notes, "READY=1")
	})
}

// waitCurrent waits for a revision with that generation, and for its unit.
func (m *machine) waitCurrent(service name.Service, generation int) {
	m.t.Helper()
	m.eventually(string(service)+" is current and has its unit", func() bool {
		current, _ := m.store.Current(service)
		_, err := os.Stat(filepath.Join(m.root, generated, service.Revision(current).First().Unit()))
		return current.Generation() == generation && err == nil
	})
}

func (m *machine) waitGone(service name.Service) {
	m.t.Helper()
	m.eventually(string(service)+" is gone, its units and their failures", func() bool {
		_, err := os.Stat(filepath.Join(m.store.Root, string(service)))
		_, err2 := os.Stat(filepath.Join(m.root, generated, service.Manager()))
		return errors.Is(err, os.ErrNotExist) && errors.Is(err2, os.ErrNotExist) && m.system.forgot(service)
	})
}

func (m *machine) waitReloads(n int) {
	m.t.Helper()
	m.eventually("reloads", func() bool { reloads, _ := m.system.counts(); return reloads >= n })
	if reloads, _ := m.system.counts(); reloads != n {
		m.t.Fatalf("systemd was reloaded %d times, want %d", reloads, n)
	}
}

// define writes a definition to the folder that is the store.
func (m *machine) define(service, definition string) {
	m.t.Helper()
	dir := filepath.Join(m.root, services)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, service+".json"), []byte(definition), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) undefine(service string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.root, services, service+".json")); err != nil {
		m.t.Fatal(err)
	}
}

// image is a definition; services whose images begin with different letters have
// different addresses.
func image(image string) string {
	return fmt.Sprintf(`{"image": %q, "address": "172.17.0.1:7%03d", "port": 80}`, image, image[0])
}
