package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// refusal is a change that this host does not accept for now.
type refusal struct {
	change  source.Change
	owner   name.Service       // the one in the way, empty when it is something else
	address definition.Address // that it has
	turn    int                // lower for those that came earlier
}

// kept is a refusal on disk.
type kept struct {
	Source string
	Change source.Change
}

// refusedFolder keeps refused changes that the store does not deliver again by itself.
const refusedFolder = ".refused"

func (a *Applier) refusedPath(service name.Service) string {
	return filepath.Join(a.Revisions.Root, refusedFolder, string(service)+".json")
}

// refuse keeps a change until the host accepts it.
func (a *Applier) refuse(c source.Change, owner name.Service, address definition.Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused == nil {
		a.refused = make(map[name.Service]refusal)
	}
	old, known := a.refused[c.Service]
	if !known {
		if len(a.refused) >= definition.MaxServices {
			a.Log.Warning("%s: more than %d services wait for this host to accept them; edit this one for another try", c.Service, definition.MaxServices)
			return
		}
		a.turns++
		old.turn = a.turns
	}
	a.refused[c.Service] = refusal{c, owner, address, old.turn}
	if c.Rev == "" || known && old.change.Rev == c.Rev {
		return
	}
	text, err := json.Marshal(kept{a.Source, c})
	err = errors.Join(err, os.MkdirAll(filepath.Dir(a.refusedPath(c.Service)), 0o700))
	if err == nil {
		err = atomicfile.Write(a.refusedPath(c.Service), text, 0o600)
	}
	if err != nil {
		a.Log.Warning("%s: the refused revision is not kept: %v; after a restart it will not be applied by itself", c.Service, err)
	}
}

// lookAgain rechecks what was refused until nothing is.
func (a *Applier) lookAgain(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Retry == 0 || a.lookingAgain || len(a.refused) == 0 {
		return
	}
	a.lookingAgain = true
	a.workers.Add(1)
	go func() {
		defer a.workers.Done()
		for left := true; left && a.pause(ctx, a.Retry); {
			a.serial.Lock()
			a.recheck(ctx, func(refusal) bool { return true })
			a.serial.Unlock()
			a.mu.Lock()
			left = len(a.refused) > 0
			a.lookingAgain = left
			a.mu.Unlock()
		}
	}()
}

// recheck applies changes that were refused and no longer are, first come, first served.
// a.serial is held.
func (a *Applier) recheck(ctx context.Context, concerns func(refusal) bool) {
	a.mu.Lock()
	var due []refusal
	for service, r := range a.refused {
		if a.work[service] == nil && concerns(r) {
			due = append(due, r)
		}
	}
	a.mu.Unlock()
	slices.SortFunc(due, func(a, b refusal) int { return cmp.Compare(a.turn, b.turn) })
	for _, r := range due {
		if ctx.Err() != nil {
			return
		}
		if a.stillRefused(r) {
			continue
		}
		if err := a.attempt(ctx, r.change); err != nil {
			a.Log.Error("%v", err)
		}
	}
}

// stillRefused reports whether what was in the way of a change still is, without
// reading the change again.
func (a *Applier) stillRefused(r refusal) bool {
	if r.owner == "" {
		return false
	}
	a.claiming.Lock()
	defer a.claiming.Unlock()
	return a.claimOf(r.owner).has(r.address)
}

// Waits reports whether a change of a service is kept until the host accepts it.
func (a *Applier) Waits(service name.Service) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.refused[service]
	return ok
}

// Gone forgets what was wrong with changes of a service that the store has no more.
func (a *Applier) Gone(service name.Service) {
	a.serial.Lock() // not while it is tried again
	defer a.serial.Unlock()
	a.valid(service)
}

// Only forgets what was wrong with changes of services that the store does not have.
func (a *Applier) Only(present map[name.Service]bool) {
	a.serial.Lock()
	defer a.serial.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for service := range a.refused {
		if !present[service] {
			a.accepted(service)
		}
	}
	maps.DeleteFunc(a.invalid, func(service name.Service, _ string) bool { return !present[service] })
}

// forgetRefused forgets that a change of a service was refused.
func (a *Applier) forgetRefused(service name.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted(service)
}

// accepted forgets that a change of a service was refused. a.mu is held.
func (a *Applier) accepted(service name.Service) {
	r, ok := a.refused[service]
	if !ok {
		return
	}
	delete(a.refused, service)
	if r.change.Rev != "" {
		_ = os.Remove(a.refusedPath(service)) // a newer change replaces it
	}
}

// resumeRefused reads what the last run has refused.
func (a *Applier) resumeRefused(ctx context.Context) {
	entries, err := os.ReadDir(filepath.Join(a.Revisions.Root, refusedFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.Warning("read what was refused: %v", err)
	}
	for _, entry := range entries {
		path := filepath.Join(a.Revisions.Root, refusedFolder, entry.Name())
		text, err := os.ReadFile(path)
		var k kept
		if err == nil {
			err = json.Unmarshal(text, &k)
		}
		if err == nil {
			_, err = name.ParseService(string(k.Change.Service))
		}
		if err != nil || k.Source != a.Source || path != a.refusedPath(k.Change.Service) {
			_ = os.Remove(path) // damaged, or another store's
			continue
		}
		if err := a.Apply(ctx, k.Change); err != nil {
			a.Log.Error("%v", err)
		}
	}
}
