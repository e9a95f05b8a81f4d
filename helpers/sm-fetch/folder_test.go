package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"service-manager/helpers/sm-fetch/follow"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/host"
	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// A life of a host whose store is a folder, phase by phase.
func TestFollowFolder(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	stop := m.follow()
	m.waitReady()
	m.waitStatus("services, which does not exist yet, 0 services")

	m.define("web", image("nginx:1"))
	m.waitCurrent("web", 1)
	m.waitStatus("/services, 1 service")
	m.waitReloads(1)

	// The same with other spelling is no change, and systemd hears of none.
	m.define("web", `{"port":80,"address":"172.17.0.1:7110","image":"nginx:1"}`)
	m.define("bad", `{"image": "nginx:1", "address": "172.17.0.1:7002", "port": 0, "prot": 1}`)
	m.eventually("two lines about bad", func() bool { return m.logged("sm-fetch: error: bad 1-") == 2 })
	m.waitStatus("1 service, 1 with an invalid newest revision")

	m.define("web", image("nginx:2"))
	m.waitCurrent("web", 2)
	m.waitReloads(2)

	// The invalid revision leaves the last valid one current, and is reported once.
	m.define("web", image("ng inx"))
	m.eventually("a line about web", func() bool { return m.logged("sm-fetch: error: web 3-") == 1 })
	m.define("web", image("ng inx")+" ")
	m.define("web", image("nginx:3"))
	m.waitCurrent("web", 3)
	m.waitReloads(3)
	if n := m.logged("must be an image reference"); n != 1 {
		t.Errorf("the invalid revision was told %d times", n)
	}

	// What sm-rollout notes changes the units too.
	current, _ := m.store.Current("web")
	if err := m.store.SetGood(name.Revision{Service: "web", Rev: current}); err != nil {
		t.Fatal(err)
	}
	m.waitReloads(4)

	// A removal that takes long does not delay the others.
	hold := make(chan struct{})
	m.system.set(func() { m.system.hold = hold })
	m.undefine("web")
	m.eventually("web is being stopped", func() bool { _, stops := m.system.counts(); return stops == 1 })
	m.define("api", image("api:1"))
	m.waitCurrent("api", 1)
	if got, _ := m.store.Current("web"); got != current {
		t.Errorf("web is at %q while it stops, want %s", got, current)
	}
	// What comes for the service meanwhile waits, and makes a new service.
	m.define("web", image("nginx:4"))
	m.define("db", image("db:1"))
	m.waitCurrent("db", 1)
	if !m.store.Deleted("web") {
		t.Error("web is not marked deleted while it stops")
	}
	close(hold)
	m.waitCurrent("web", 1)
	m.system.set(func() { m.system.hold = nil })
	stop()

	// What happened meanwhile is found at the next start.
	m.undefine("api")
	m.define("db", image("db:2"))
	stop = m.follow()
	m.waitCurrent("db", 2)
	m.waitGone("api")

	// A folder that is gone stops nothing.
	if err := os.Rename(filepath.Join(m.root, services), filepath.Join(m.root, "away")); err != nil {
		t.Fatal(err)
	}
	m.waitStatus("services")
	stop()
	stop = m.follow()
	m.waitStatus("which does not exist yet, 2 services")
	if err := os.Rename(filepath.Join(m.root, "away"), filepath.Join(m.root, services)); err != nil {
		t.Fatal(err)
	}
	m.waitStatus("/services, 2 services")
	if _, stops := m.system.counts(); stops != 2 {
		t.Errorf("services were stopped %d times, want 2", stops)
	}
	stop()
}

// A file that was refused, and is removed, does not matter later; one that is accepted
// later is like any other.
func TestRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	stop := m.follow()
	m.waitCurrent("web", 1)
	for _, service := range []string{"gone", "late"} {
		m.define(service, image("nginx:1"))
		m.eventually(service+" is refused", func() bool { return m.logged("sm-fetch: error: "+service+" 1-") == 1 })
	}
	m.undefine("gone")
	m.waitStatus("1 with an invalid newest revision")
	m.undefine("web")
	m.waitCurrent("late", 1)
	m.waitGone("web")
	m.undefine("late")
	m.waitGone("late")
	m.define("web", image("nginx:2"))
	m.waitCurrent("web", 1)
	if got, _ := m.store.Current("gone"); got != "" {
		t.Error("what was removed from the folder is a service")
	}
	// Even a run that ends before anything is accepted knows what it has refused.
	m.define("late", image("nginx:1"))
	m.eventually("late is refused", func() bool { return m.logged("sm-fetch: error: late 1-") == 2 })
	stop()
	m.undefine("late")
	stop = m.follow()
	m.undefine("web")
	m.waitGone("web")
	if got, _ := m.store.Current("late"); got != "" {
		t.Error("what was removed between two runs is a service")
	}
	stop()
}

// A removal that a crash, or a systemd out of reach, cut short is continued.
func TestRemovalGoesOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	m.define("api", image("api:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.system.set(func() { m.system.fail = errors.New("systemd does not answer") })
	m.undefine("web")
	err := m.once()
	if err == nil || err.Error() != "web: remove it: systemd does not answer" {
		t.Fatalf("got error %v", err)
	}
	if current, _ := m.store.Current("web"); current == "" || !m.store.Deleted("web") {
		t.Errorf("web is at %q, marked deleted: %v", current, m.store.Deleted("web"))
	}
	m.system.set(func() { m.system.fail = nil })
	defer m.follow()()
	m.waitGone("web")
	m.waitCurrent("api", 1)
}

// What a pass has begun, or refused for now, outlasts the pass.
func TestPassEndsFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	m.define("api", image("api:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	m.system.set(func() { m.system.hold = hold })
	m.undefine("web")
	m.define("db", image("api:1"))
	defer m.follow()()
	m.waitStatus("following")
	m.eventually("web is being stopped", func() bool { _, stops := m.system.counts(); return stops == 1 })
	close(hold)
	m.waitGone("web")
	// The claim of api is given up on disk, and nothing else reports it.
	if err := m.store.MarkDeleted("api"); err != nil {
		t.Fatal(err)
	}
	m.waitCurrent("db", 1)
}

func TestOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	m.define("bad", image("ng inx"))
	for _, test := range []struct {
		services []string
		error    string
	}{
		{nil, "bad: its newest revision is invalid"},
		{[]string{"web"}, ""},
		{[]string{"web", "bad", "api"}, "bad: its newest revision is invalid; api: FOLDER does not have it"},
	} {
		err := m.once(test.services...)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), filepath.Join(m.root, services), "FOLDER")
		}
		if got != test.error {
			t.Errorf("once %v: got error %q, want %q", test.services, got, test.error)
		}
	}
	m.waitCurrent("web", 1)
	m.waitReloads(1)
	// Even without a state, a removal is seen.
	m.undefine("web")
	if err := m.once("bad"); err == nil {
		t.Error("bad is not told")
	}
	m.waitGone("web")
	m.waitReloads(2)
}

// Services that came from another store stay, at every start.
func TestStoreSwitch(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	m.define("api", image("api:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	err := follow.WriteState(m.store.Root, follow.State{Store: "http://127.0.0.1:5984/services", Position: source.Position{Since: "9-x"}})
	if err != nil {
		t.Fatal(err)
	}
	m.undefine("web")
	for range 2 {
		if err := m.once(); err != nil {
			t.Fatal(err)
		}
		if current, _ := m.store.Current("web"); current == "" {
			t.Fatal("web is gone")
		}
	}
	if n := m.logged("web: " + filepath.Join(m.root, services) + " does not have it; it stays"); n != 1 {
		t.Errorf("the service that stays was told %d times", n)
	}
	// Once the store has had it, it belongs to it.
	m.define("web", image("nginx:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	if current, _ := m.store.Current("web"); current.Generation() != 1 {
		t.Errorf("the same definition from another store became %s", current)
	}
	m.undefine("web")
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.waitGone("web")
}

// A copy of a stored revision is a definition like any other.
func TestCopyOfRevision(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	old, _ := m.store.Current("web")
	document, err := os.ReadFile(m.store.Path(name.Revision{Service: "web", Rev: old}))
	if err != nil {
		t.Fatal(err)
	}
	m.define("web", image("nginx:2"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.define("web", string(document))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	got, _ := m.store.Current("web")
	if want := "3" + strings.TrimPrefix(string(old), "1"); string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m.define("web", `{"image":"nginx:1","image":"nginx:2","address":"172.17.0.1:7110","port":80}`)
	if err := m.once(); err == nil || m.logged(`has image twice`) != 1 {
		t.Errorf("a field that is there twice was taken: %v", err)
	}
	// Even if the definition comes to the same as the current one.
	m.define("web", `{"image":"nginx:2","image":"nginx:1","address":"172.17.0.1:7110","port":80}`)
	if err := m.once(); err == nil || m.logged(`sm-fetch: error: web: the definition has image twice`) != 1 {
		t.Errorf("a field that is there twice was taken: %v", err)
	}
	m.define("web", image("nginx:1"))
	if err := m.once(); err != nil {
		t.Error(err)
	}
}

// A folder that is made again, for example by a tool that fills it only afterwards,
// removes nothing.
func TestFolderMadeAnew(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	m.define("api", image("api:1"))
	stop := m.follow()
	m.waitCurrent("web", 1)
	m.waitCurrent("api", 1)
	if err := os.RemoveAll(filepath.Join(m.root, services)); err != nil {
		t.Fatal(err)
	}
	m.define("web", image("nginx:1"))
	stays := "api: " + filepath.Join(m.root, services) + " does not have it; it stays as it is"
	m.eventually("api stays", func() bool { return m.logged(stays) == 1 })
	stop()
	stop = m.follow() // which looks for what was removed meanwhile
	m.define("db", image("db:1"))
	m.waitCurrent("db", 1)
	// From now on it is like any folder.
	m.define("api", image("api:1"))
	m.waitStatus("3 services")
	m.undefine("web")
	m.waitGone("web")
	stop()
	if current, _ := m.store.Current("api"); current == "" {
		t.Error("api was removed")
	}
	if _, stops := m.system.counts(); stops != 1 {
		t.Errorf("services were stopped %d times, want 1", stops)
	}
}

// A removal that was cut short does not take with it what came afterwards.
func TestOnceEndsRemovalFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.system.set(func() { m.system.fail = errors.New("systemd does not answer") })
	m.undefine("web")
	if err := m.once(); err == nil {
		t.Fatal("a removal that failed is not told")
	}
	if err := m.once(); err == nil {
		t.Error("a removal that failed is not told a second time")
	}
	m.system.set(func() { m.system.fail = nil })
	m.define("web", image("nginx:2"))
	if err := m.once(); err != nil {
		t.Fatal(err)
	}
	m.waitCurrent("web", 1)
	if m.store.Deleted("web") {
		t.Error("the new service is marked deleted")
	}
}

// By hand, the store is the one that the host follows.
func TestOnceReadsSettings(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.define("web", image("nginx:1"))
	if err := os.WriteFile(filepath.Join(m.root, host.Settings), []byte("# settings\nCOUCHDB_URL=\"http://admin:secret@127.0.0.1:1/services\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.once("web"); err == nil || err.Error() != "cannot read http://127.0.0.1:1/services: connection refused" {
		t.Errorf("got error %v", err)
	}
	if err := run(t.Context(), m.world("once", "--root", m.root, "--services", filepath.Join(m.root, services)), m.system); err != nil {
		t.Error(err)
	}
	m.waitCurrent("web", 1)
}

// What a write left unfinished a moment before the start, as in a crash, is removed when it
// is clear that no one writes it.
func TestCleansAgain(t *testing.T) {
	defer func(before time.Duration) { cleanAgain = before }(cleanAgain)
	cleanAgain = time.Second
	m := newMachine(t)
	left := filepath.Join(m.store.Root, atomicfile.TempPrefix+"1")
	almost := time.Now().Add(cleanAgain/2 - atomicfile.Longest)
	if err := errors.Join(os.MkdirAll(m.store.Root, 0o700), os.WriteFile(left, nil, 0o600), os.Chtimes(left, almost, almost)); err != nil {
		t.Fatal(err)
	}
	stop := m.follow()
	m.eventually("nothing is left", func() bool { _, err := os.Lstat(left); return errors.Is(err, os.ErrNotExist) })
	stop()
}
