package revision

import (
	"errors"
	"fmt"
	"slices"

	"service-manager/units/definition"
)

// State is all that units are made of: what is on disk about one service.
type State struct {
	Service string
	Current string // revision, empty when there is none that is valid
	Good    string // revision, empty when there is none that is valid
	Failed  []string
	// Definitions are those of current, good and every revision with a run
	// record, oldest first.
	Definitions []*definition.Definition
}

// Definition returns the definition of one of the state's revisions, nil when it
// has none.
func (s State) Definition(revision string) *definition.Definition {
	i := slices.IndexFunc(s.Definitions, func(d *definition.Definition) bool { return d.Revision == revision })
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
// out and named in the error; the rest is good all the same.
func (s Store) State(service string) (State, error) {
	state := State{Service: service}
	_, foreign := s.Revisions(service)
	problems := []error{foreign}

	currentName, err := s.Current(service)
	problems = append(problems, err)
	goodName, err := s.Good(service)
	problems = append(problems, err)
	recorded, failed, err := s.records(service)
	problems = append(problems, err)

	state.Failed = failed
	wanted := append(recorded, currentName, goodName)
	slices.SortFunc(wanted, compare)
	wanted = slices.Compact(wanted)
	if left := len(wanted) - definition.MaxRevisions; left > 0 {
		last := wanted[left-1]
		problems = append(problems, fmt.Errorf("%s: %d revisions have a run record, of which %d at most get units; left out: those up to %s",
			service, len(wanted), definition.MaxRevisions, last))
		wanted = slices.DeleteFunc(wanted, func(name string) bool {
			return compare(name, last) <= 0 && name != currentName && name != goodName
		})
	}
	for _, name := range wanted {
		if name == "" {
			continue
		}
		d, err := s.Read(service, name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		state.Definitions = append(state.Definitions, d)
		if name == currentName {
			state.Current = name
		}
		if name == goodName {
			state.Good = name
		}
	}
	return state, errors.Join(problems...)
}

// States reads what is on disk about every service, sorted by name. Whatever is
// unreadable is left out and named in the error; the rest is good all the same.
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
