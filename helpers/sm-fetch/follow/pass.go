package follow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"service-manager/helpers/sm-fetch/store"
	"service-manager/units/revision"
)

// diskError says that the disk, not the store, is in the way.
type diskError struct{ error }

// pass applies what has changed since the last run, or everything when that
// followed another store or everything is asked for.
func (f *Follower) pass(ctx context.Context, everything bool) (store.Snapshot, error) {
	state := f.state.get()
	same := state.Store == f.Store.Name()
	if !same {
		state = store.State{Store: f.Store.Name()}
	}
	if everything {
		state.Position.Since = ""
	}
	snapshot, deleted, err := f.apply(ctx, state.Position)
	if errors.Is(err, store.ErrMissing) && same && state.Position != (store.Position{}) {
		// Whatever comes back under that name counts from its own beginning.
		state.Position = store.Position{}
		f.state.set(state)
	}
	if err != nil || snapshot.Absent {
		return snapshot, err
	}
	absent, err := f.absent(snapshot)
	if err != nil {
		return snapshot, err
	}
	if same && snapshot.Exact && len(absent) > 0 {
		// An editor may just be between moving the old file and writing the new one.
		if snapshot, absent, err = f.stillAbsent(ctx, snapshot, absent); err != nil {
			return snapshot, err
		}
	}
	var problems []error
	switch {
	case same && !snapshot.Anew:
		if snapshot.Exact {
			deleted = append(deleted, absent...)
		}
		for _, service := range deleted {
			// What the store has never had it cannot have deleted; it may remember one
			// of that name from before.
			if !slices.Contains(state.Kept, service) {
				problems = append(problems, f.Applier.Apply(ctx, store.Change{ID: service, Deleted: true}))
			}
		}
		state.Kept = slices.DeleteFunc(state.Kept, func(s string) bool { return snapshot.Present[s] })
	default:
		f.keep(slices.DeleteFunc(slices.Clone(absent), func(s string) bool { return slices.Contains(state.Kept, s) }))
		state.Kept = absent
	}
	if err := errors.Join(problems...); err != nil {
		return snapshot, &diskError{err}
	}
	state.Position = snapshot.Position
	f.state.set(state)
	return snapshot, nil
}

// apply applies what has changed in the store since a position, and returns what
// was deleted. A feed that is sent again may tell of a deletion before it tells
// of the newer revision, so deletions are left for the caller.
func (f *Follower) apply(ctx context.Context, from store.Position) (store.Snapshot, []string, error) {
	deleted := make(map[string]bool)
	var problems []error
	snapshot, err := f.Store.Pass(ctx, from, func(c store.Change) error {
		deleted[c.ID] = c.Deleted
		if !c.Deleted {
			if err := f.Applier.Apply(ctx, c); err != nil {
				problems = append(problems, err) // the others are applied all the same
			}
		}
		return nil
	})
	if err != nil {
		return snapshot, nil, err
	}
	if err := errors.Join(problems...); err != nil {
		return snapshot, nil, &diskError{err}
	}
	maps.DeleteFunc(deleted, func(_ string, is bool) bool { return !is })
	return snapshot, slices.Sorted(maps.Keys(deleted)), nil
}

// absent returns the services on disk that the store does not have, sorted. It
// returns none when the pass did not see all of the store.
func (f *Follower) absent(snapshot store.Snapshot) ([]string, error) {
	if snapshot.Present == nil {
		return nil, nil
	}
	revisions := revision.Store{Root: f.Revisions}
	services, err := revisions.Services()
	if services == nil && err != nil {
		return nil, &diskError{err}
	}
	return slices.DeleteFunc(services, func(service string) bool {
		return snapshot.Present[service] || revisions.Deleted(service)
	}), nil
}

// stillAbsent returns the services that the store has not had for a while, with
// the snapshot that says so.
func (f *Follower) stillAbsent(ctx context.Context, snapshot store.Snapshot, absent []string) (store.Snapshot, []string, error) {
	for {
		select {
		case <-ctx.Done():
			return snapshot, nil, context.Cause(ctx)
		case <-time.After(f.Times.Grace):
		}
		before := absent
		var err error
		if snapshot, _, err = f.apply(ctx, snapshot.Position); err != nil {
			return snapshot, nil, err
		}
		if snapshot.Absent || snapshot.Anew {
			return snapshot, nil, store.ErrAgain
		}
		if absent, err = f.absent(snapshot); err != nil {
			return snapshot, nil, err
		}
		// One that has just gone may come again, too.
		if !slices.ContainsFunc(absent, func(s string) bool { return !slices.Contains(before, s) }) {
			return snapshot, absent, nil
		}
	}
}

// keep tells of services that came from another store, or from another one of the
// same name.
func (f *Follower) keep(services []string) {
	for _, service := range services {
		f.Log.Warning("%s: %s does not have it; it stays as it is; to remove it: systemctl stop %s@manager && rm -r %s/%s",
			service, f.Store.Name(), service, f.Revisions, service)
	}
}

// Once makes one pass over all of the store and waits for the end of all that it
// has begun. The error names those of the given services, or with none given of
// all, that are invalid or missing; the rest has been applied all the same.
func (f *Follower) Once(ctx context.Context, services []string) error {
	f.state = openStates(f.Revisions, 0, f.Applier, f.Log)
	snapshot, err := f.pass(ctx, true)
	if err != nil {
		return errors.New(f.explain(err))
	}
	if err := f.Applier.Wait(); err != nil {
		return err
	}
	f.state.flush()
	if snapshot.Absent {
		return fmt.Errorf("%s does not exist", f.Store.Name())
	}
	if len(services) == 0 {
		services = slices.Sorted(maps.Keys(snapshot.Present))
		services = slices.DeleteFunc(services, func(service string) bool { return !snapshot.Present[service] })
	}
	var problems []string
	for _, service := range services {
		switch {
		case !snapshot.Present[service]:
			problems = append(problems, fmt.Sprintf("%s: %s does not have it", service, f.Store.Name()))
		case f.Applier.Invalid(service) != "":
			problems = append(problems, service+": its newest revision is invalid")
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}
