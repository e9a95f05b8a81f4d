// Package apply makes the revisions on disk what a store says they are. It
// validates before it writes, writes so that a crash leaves nothing half done,
// and may be told the same thing any number of times.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"service-manager/helpers/sm-fetch/pool"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/printable"
	"service-manager/units/revision"
)

// Applier applies changes to the revisions on disk. Fields are set before use.
type Applier struct {
	Revisions revision.Store
	// Stop drains and stops a service, and returns when nothing of it runs.
	Stop func(ctx context.Context, service name.Service) error
	// Reload reloads systemd where that is needed: after it, a service that was
	// removed has no units.
	Reload func(ctx context.Context) error
	// Forget clears what systemd still knows about a service that was removed.
	Forget func(ctx context.Context, service name.Service) error
	// Busy returns the revisions of a service that systemd runs, or is about to run.
	Busy func(ctx context.Context, service name.Service) ([]name.Rev, error)
	// Retry is how long to wait before retrying what failed. With zero it is not retried;
	// a removal stays marked on disk.
	Retry time.Duration
	Log   Log
	// Source is the name of the store. What it said does not count for another one.
	Source string
	// Root is the root of the host; empty means "/".
	Root string
	// Addresses returns the addresses that the host gives to services by name, for
	// documents that have none. An error says what is wrong with them, not that there
	// are none. With nil there are none.
	Addresses func() (map[name.Service]netip.AddrPort, error)
	// Pool gives addresses to services that have none from Addresses either. With nil
	// they get none.
	Pool *pool.Pool
	// Listening returns the socket that receives connections, or datagrams, to an
	// address. With nil there is none.
	Listening func(definition.Address) (netip.AddrPort, bool)

	// serial keeps changes from the store apart from those that were refused.
	serial sync.Mutex
	// claiming is held from a look at the claims until a revision is current.
	claiming sync.Mutex
	claims   claims

	mu      sync.Mutex
	invalid map[name.Service]string // its newest revision, when that is invalid
	work    map[name.Service]*work  // the work on it, beside the changes of others
	refused map[name.Service]refusal
	// lookingAgain says that what was refused is being rechecked.
	lookingAgain bool
	turns        int
	addresses    string  // what was wrong with the host's addresses
	failures     []error // of work that is not retried
	settled      func()
	workers      sync.WaitGroup
}

// Log takes lines for the operator of the host.
type Log interface {
	Info(format string, args ...any)
	Warning(format string, args ...any)
	Error(format string, args ...any)
}

// lockWait is how long the changes of other services wait for one whose lock is held.
// Helpers hold it for milliseconds, unless systemd is away.
const lockWait = time.Second

// Apply applies one change. An invalid definition is logged and Apply returns nil.
// What cannot be done now, because the service is being removed, its lock is held
// or the disk is in the way, is done later without holding up others; only with no
// Retry is that an error.
func (a *Applier) Apply(ctx context.Context, c source.Change) error {
	a.serial.Lock()
	defer a.serial.Unlock()
	return a.attempt(ctx, c)
}

// attempt is Apply with a.serial held.
func (a *Applier) attempt(ctx context.Context, c source.Change) error {
	a.mu.Lock()
	if w := a.work[c.Service]; w != nil {
		w.postpone(c)
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	short := ctx
	if a.Retry != 0 {
		var cancel context.CancelFunc
		short, cancel = context.WithTimeoutCause(ctx, lockWait, errHeld)
		defer cancel()
	}
	marked, err := a.apply(short, c)
	a.lookAgain(ctx)
	if err == nil {
		// What gets the address of a service that goes starts while that still serves.
		a.recheck(ctx, func(r refusal) bool { return r.owner == c.Service || marked && r.owner == "" })
	}
	switch {
	case err != nil && (a.Retry == 0 || ctx.Err() != nil):
		return err
	case err != nil:
		a.Log.Error("%v; trying again every %v", err, a.Retry)
		a.startWork(ctx, c.Service, &c, err)
	case marked:
		a.startWork(ctx, c.Service, nil, nil)
	}
	return nil
}

var errHeld = errors.New("others are applied first")

// apply applies one change as far as that needs nothing of systemd, and reports
// whether the service has to be removed now.
func (a *Applier) apply(ctx context.Context, c source.Change) (marked bool, err error) {
	if !c.Deleted {
		return false, a.accept(ctx, c)
	}
	a.valid(c.Service)
	if marked, err = a.mark(ctx, c.Service); marked && err == nil {
		a.Log.Info("%s: was deleted from the store; it is being stopped and removed", c.Service)
	}
	return marked, err
}

// lock takes the lock of a service, and says so when that takes long.
func (a *Applier) lock(ctx context.Context, service name.Service) (unlock func(), err error) {
	return a.Revisions.Lock(ctx, service, func(holder string) {
		a.Log.Warning("%s: waits for the lock on its revisions, which %s holds", service, holder)
	})
}

// Invalid returns the newest revision of a service, or the empty string when
// that is valid.
func (a *Applier) Invalid(service name.Service) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.invalid[service]
}

// InvalidCount returns how many services have an invalid newest revision.
func (a *Applier) InvalidCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.invalid)
}

func (a *Applier) accept(ctx context.Context, c source.Change) error {
	addressed, none := a.addressed(ctx, c)
	d, rev, document, err := a.validate(addressed)
	var invalid *definition.Invalid
	if errors.As(err, &invalid) {
		if len(invalid.Problems) == 1 && !definition.HasAddress(addressed.Document) {
			a.refuse(c, "", definition.Address{}) // the host may give it one later
			if none != nil {
				invalid.Problems[0].Reason = none.Error()
			}
		} else {
			a.forgetRefused(c.Service)
		}
		a.reject(c.Service, rev, invalid)
		return nil
	}
	if err != nil || d == nil {
		return err
	}
	unlock, err := a.lock(ctx, c.Service)
	if err != nil {
		return err
	}
	defer unlock()
	before, scaled, err := a.take(d, document)
	var no *refused
	if errors.As(err, &no) {
		a.reject(c.Service, rev, no.Invalid)
		a.refuse(c, no.owner, no.address)
		return nil
	}
	if err != nil {
		return err
	}
	a.valid(c.Service)
	switch {
	case before == d.Rev:
		return nil
	case before == "":
		a.Log.Info("%s: is the first revision", d.Revision)
	case scaled != "":
		a.Log.Info("%s: runs as %s, with %s", d.Revision, scaled, printable.Count(d.Replicas, "replica"))
	default:
		a.Log.Info("%s: is current, was %s", d.Revision, before)
	}
	// Too many old revisions do no harm.
	if err := a.Revisions.Prune(c.Service, func() ([]name.Rev, error) { return a.Busy(ctx, c.Service) }); err != nil {
		a.Log.Warning("%v", err)
	}
	return nil
}

// take makes a revision the current one, unless the host refuses it, and returns which
// one was. A revision that differs from the good one only in the number of replicas does
// not become current; as is the revision that it runs as.
func (a *Applier) take(d *definition.Definition, document []byte) (before, as name.Rev, err error) {
	a.claiming.Lock()
	defer a.claiming.Unlock()
	if err := a.admit(d, len(document)); err != nil {
		return "", "", err
	}
	if err := a.Revisions.Save(d.Revision, document); err != nil {
		return "", "", err
	}
	a.Revisions.Known.Remember(d, document)
	before = a.offered(d.Service)
	if before == d.Rev {
		return before, "", nil
	}
	if as, err = a.scale(d); err != nil {
		return "", "", err
	}
	if as != "" {
		delete(a.claims.byService, d.Service)
		a.claimOf(d.Service) // reads it again
		return before, as, nil
	}
	if err := a.Revisions.SetCurrent(d.Revision); err != nil {
		return "", "", err
	}
	a.claimWith(d.Service, d)
	return before, "", nil
}

// reject reports an invalid revision, once.
func (a *Applier) reject(service name.Service, rev string, invalid *definition.Invalid) {
	a.mu.Lock()
	known := a.invalid[service] == rev
	if a.invalid == nil {
		a.invalid = make(map[name.Service]string)
	}
	a.invalid[service] = rev
	a.mu.Unlock()
	if known {
		return
	}
	for _, line := range invalid.Lines() {
		a.Log.Error("%s", line)
	}
	if current, err := a.Revisions.Current(service); err == nil && current != "" {
		a.Log.Warning("%s: stays at %s, the last valid revision", service, current)
	}
}

// mark marks a service as deleted. For a service that does not exist there is nothing to
// remove.
func (a *Applier) mark(ctx context.Context, service name.Service) (bool, error) {
	_, err := os.Stat(filepath.Join(a.Revisions.Root, string(service)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	unlock, err := a.lock(ctx, service)
	if err != nil {
		return false, err
	}
	defer unlock()
	return true, a.Revisions.MarkDeleted(service)
}

// Services returns how many services are on disk and not being removed.
func (a *Applier) Services() int {
	services, _ := a.Revisions.Services()
	n := 0
	for _, service := range services {
		if current, _ := a.Revisions.Current(service); current != "" && !a.Revisions.Deleted(service) {
			n++
		}
	}
	return n
}

// Resume continues removals that the last run had begun.
func (a *Applier) Resume(ctx context.Context) error {
	services, err := a.Revisions.Services()
	for _, service := range services {
		if a.Revisions.Deleted(service) {
			a.Log.Info("%s: was deleted from the store; its removal continues", service)
			a.startWork(ctx, service, nil, nil)
		}
	}
	a.resumeRefused(ctx)
	if err != nil {
		return fmt.Errorf("look for removals to continue: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}
