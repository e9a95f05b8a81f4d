package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// diskError says that the disk, not the store, is in the way.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

// pass applies what has changed since the last run, or everything when that followed
// another store or everything is asked for. It also returns how many services it has
// begun to remove.
func (f *Follower) pass(ctx context.Context, everything bool) (source.Snapshot, int, error) {
	state := f.state.get()
	known := state.Store == f.Store.Name()
	if !known {
		state = State{Store: f.Store.Name()}
	}
	from := state.Position
	if everything {
		from.Since = ""
	}
	reading, end := f.guarded(ctx)
	defer end()
	p := passing{Follower: f, reading: reading, state: state, later: make(map[name.Service]source.Change), removed: make(map[name.Service]bool)}
	snapshot, err := f.Store.Pass(reading, from, state.Had(), func(c source.Change) error { return p.take(ctx, c) })
	err = p.cause(err)
	switch {
	case errors.Is(err, source.ErrMissing) && known:
		// What comes back under that name is the same database only if it says so.
		if state.Position.Since = ""; state.Instance == "" {
			state.Services = nil
		}
		f.state.set(state)
		return snapshot, 0, err
	case err != nil && len(p.said) == 0, err == nil && snapshot.Waiting:
		return snapshot, 0, err
	}
	if snapshot.New {
		p.state.Services, p.state.Position = nil, source.Position{Instance: snapshot.Instance}
	}
	for _, c := range p.said {
		f.say(&p.state, c)
	}
	if err == nil {
		err = p.finish(ctx, snapshot)
	}
	if err == nil {
		p.state.Position = snapshot.Position
	}
	// What the store has said counts even if the pass has failed.
	f.state.set(p.state)
	return snapshot, len(p.removed), err
}

// passing is one pass.
type passing struct {
	*Follower
	// reading is for waits for the store. What is begun for services outlasts it.
	reading context.Context

	state State
	said  []source.Change // what was applied, without the documents
	// later are deletions, and changes that go back behind what the store said before. A
	// feed that is sent again may contain these before what is newer.
	later    map[name.Service]source.Change
	removed  map[name.Service]bool // services whose removal has begun
	problems []error
}

// cause returns why the wait for the store ended, if that made an error.
func (p *passing) cause(err error) error {
	if err != nil && p.reading.Err() != nil {
		return context.Cause(p.reading)
	}
	return err
}

// take takes a change that the store delivers.
func (p *passing) take(ctx context.Context, c source.Change) error {
	if p.reading.Err() != nil {
		return context.Cause(p.reading)
	}
	p.saw(c.Service)
	if c.Deleted || p.state.GoesBack(c) {
		p.later[c.Service] = c
		return nil
	}
	delete(p.later, c.Service)
	p.apply(ctx, c)
	return nil
}

func (p *passing) apply(ctx context.Context, c source.Change) {
	if err := p.Applier.Apply(ctx, c); err != nil {
		p.problems = append(p.problems, err) // the others are applied anyway
		return
	}
	c.Document = nil
	p.said = append(p.said, c)
}

// finish deals with what was left for later, and with what a store lacks.
func (p *passing) finish(ctx context.Context, snapshot source.Snapshot) error {
	if err := p.settle(ctx, snapshot.Present); err != nil {
		return err
	}
	if snapshot.Present != nil {
		p.Applier.Only(snapshot.Present)
		if err := p.lacks(snapshot.Present); err != nil {
			return err
		}
	}
	if err := errors.Join(p.problems...); err != nil {
		return &diskError{err}
	}
	return nil
}

// settle deals with what was left for later. The list of what is present may be
// older than what has become of a document meanwhile.
func (p *passing) settle(ctx context.Context, present map[name.Service]bool) error {
	for _, service := range slices.Sorted(maps.Keys(p.later)) {
		p.saw(service)
		c := p.later[service]
		if p.state.Has(service) {
			var err error
			if c, err = p.Store.Get(p.reading, service); err != nil {
				return p.cause(err)
			}
			if c.Deleted {
				c.Rev = p.later[service].Rev
			}
		}
		switch {
		case !c.Deleted:
			if err := p.Applier.Apply(ctx, c); err != nil {
				p.problems = append(p.problems, err)
				continue
			}
			p.say(&p.state, c)
			if present != nil {
				present[service] = true
			}
		case !p.state.Has(service): // another store's, or another incarnation's
			p.Applier.Gone(service)
		case p.state.GoesBack(c):
			p.keep(&p.state, service)
		default:
			if err := p.Applier.Apply(ctx, c); err != nil {
				p.problems = append(p.problems, err)
				continue
			}
			p.removed[service] = true
			p.say(&p.state, c)
		}
	}
	return nil
}

// lacks deals with the services on disk that a store, all of which was seen, neither has
// nor has deleted.
func (p *passing) lacks(present map[name.Service]bool) error {
	revisions := revision.Store{Root: p.Revisions}
	services, err := revisions.Services()
	if services == nil && err != nil {
		return &diskError{err}
	}
	maps.DeleteFunc(p.state.Services, func(service name.Service, word Word) bool {
		return word.Lacks && !slices.Contains(services, service)
	})
	for _, service := range services {
		if !present[service] && !p.removed[service] && !revisions.Deleted(service) {
			p.keep(&p.state, service)
		}
	}
	return nil
}

// say notes the store's word on a service that was applied. When all that it had of
// one was invalid, there is nothing that a later deletion could delete.
func (f *Follower) say(state *State, c source.Change) {
	rev, unnamed := name.ParseRev(c.Rev)
	_, err := os.Stat(filepath.Join(f.Revisions, string(c.Service)))
	switch {
	case c.Deleted, errors.Is(err, fs.ErrNotExist) && f.Applier.Invalid(c.Service) != "" && !f.Applier.Waits(c.Service):
		delete(state.Services, c.Service)
	case unnamed != nil:
		state.Say(c.Service, Word{})
	default:
		state.Say(c.Service, Word{Rev: rev})
	}
}

// keep notes that a store lacks a service that it has not deleted, and reports that when
// it is news.
func (f *Follower) keep(state *State, service name.Service) {
	if !state.Services[service].Lacks {
		f.Log.Warning("%s: %s does not have it; it stays as it is; to remove it, run systemctl stop %s && rm -r %s/%s",
			service, f.Store.Name(), service.Manager(), f.Revisions, service)
	}
	state.Say(service, Word{Lacks: true})
}

// Once makes one pass over the whole store and waits for the end of everything that it
// has begun. The error names those of the given services, or of all when none is given,
// that are invalid or missing; the rest has been applied anyway.
func (f *Follower) Once(ctx context.Context, services []name.Service) error {
	f.state = openStates(f.Revisions, 0, f.Applier, f.Log)
	var snapshot source.Snapshot
	// A definition may have come back while its service was stopped and removed.
	for removed := 1; removed > 0; {
		var err error
		if snapshot, removed, err = f.pass(ctx, true); err != nil {
			return f.explain(err)
		}
		if err := f.Applier.Wait(); err != nil {
			return err
		}
	}
	f.state.flush()
	if snapshot.Waiting {
		return fmt.Errorf("%s does not exist", f.Store.Name())
	}
	if len(services) == 0 {
		services = slices.Sorted(maps.Keys(snapshot.Present))
		services = slices.DeleteFunc(services, func(service name.Service) bool { return !snapshot.Present[service] })
	}
	var problems []string
	for _, service := range services {
		switch {
		case !snapshot.Present[service]:
			problems = append(problems, fmt.Sprintf("%s: %s does not have it", service, f.Store.Name()))
		case f.Applier.Invalid(service) != "":
			problems = append(problems, fmt.Sprintf("%s: its newest revision is invalid", service))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}
