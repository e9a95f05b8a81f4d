package revision

import (
	"errors"
	"fmt"
	"slices"

	"service-manager/units/definition"
	"service-manager/units/name"
)

// State is all that units are made of: what is on disk about one service.
type State struct {
	Service name.Service
	Current name.Rev // empty when there is none that is valid
	Good    name.Rev // empty when there is none that is valid
	Failed  []name.Rev
	// Definitions are those of current, good and every revision with a run
	// record, oldest first.
	Definitions []*definition.Definition
	// Scaled is how many replicas the good revision should have, when a newer one says
	// so.
	Scaled Scale
	// more are runners that have a run record, and those of good that are announced.
	more []name.Runner
}

// Replicas returns how many replicas a revision should have. One that is neither current
// nor good gets no more than it has.
func (s State) Replicas(rev name.Rev) int {
	d := s.Definition(rev)
	switch {
	case d == nil || rev != s.Good && rev != s.Current:
		return 1
	case rev == s.Good && s.Scaled.By != "":
		return s.Scaled.Replicas
	}
	return d.Replicas
}

// Runners returns the runners of a revision that units are made of: one for each replica,
// and what else may run.
func (s State) Runners(revision name.Revision) []name.Runner {
	runners := revision.Runners(s.Replicas(revision.Rev))
	for _, r := range s.more {
		if r.Revision == revision && !slices.Contains(runners, r) {
			runners = append(runners, r)
		}
	}
	slices.SortFunc(runners, name.Runner.Compare)
	return runners
}

// Definition returns the definition of one of the state's revisions, nil when it
// has none.
func (s State) Definition(rev name.Rev) *definition.Definition {
	i := slices.IndexFunc(s.Definitions, func(d *definition.Definition) bool { return d.Rev == rev })
	if i < 0 {
		return nil
	}
	return s.Definitions[i]
}

// Pending reports whether current has still to become good.
func (s State) Pending() bool {
	return s.Current != "" && s.Current != s.Good && !slices.Contains(s.Failed, s.Current)
}

// State reads what is on disk about a service. Whatever is unreadable is left
// out and named in the error; the rest is good anyway.
func (s Store) State(service name.Service) (State, error) {
	state := State{Service: service}
	_, foreign := s.Revisions(service)
	problems := []error{foreign}

	newest, err := s.Current(service)
	problems = append(problems, err)
	served, err := s.Good(service)
	problems = append(problems, err)
	records, err := s.records(service)
	problems = append(problems, err)

	state.Failed, state.more = records.failed, records.live
	for _, r := range records.announced {
		if r.Rev == served {
			state.more = append(state.more, r)
		}
	}
	wanted := append(revsOf(records.live), newest, served)
	slices.SortFunc(wanted, name.Rev.Compare)
	wanted = slices.Compact(wanted)
	if left := len(wanted) - definition.MaxRevisions; left > 0 {
		last := wanted[left-1]
		problems = append(problems, fmt.Errorf("%s: %d revisions have a run record, of which %d at most get units; left out: those up to %s",
			service, len(wanted), definition.MaxRevisions, last))
		wanted = slices.DeleteFunc(wanted, func(rev name.Rev) bool {
			return rev.Compare(last) <= 0 && rev != newest && rev != served
		})
	}
	for _, rev := range wanted {
		if rev == "" {
			continue
		}
		d, err := s.Read(service.Revision(rev))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		state.Definitions = append(state.Definitions, d)
		if rev == newest {
			state.Current = rev
		}
		if rev == served {
			state.Good = rev
			state.Scaled, err = s.Scale(service.Revision(rev))
			problems = append(problems, err)
		}
	}
	return state, errors.Join(problems...)
}

// States reads what is on disk about every service, sorted by name. Whatever is
// unreadable is left out and named in the error; the rest is good anyway.
func (s Store) States() ([]State, error) {
	services, err := s.Services()
	problems := []error{err}
	states := make([]State, 0, len(services))
	for _, service := range services {
		state, err := s.State(service)
		problems = append(problems, err)
		states = append(states, state)
	}
	return states, errors.Join(problems...)
}
