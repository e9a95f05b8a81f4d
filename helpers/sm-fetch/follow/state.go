package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// State is how far the revisions on disk have followed which store. It lies
// beside them, so that a restart continues where the last run ended.
//
// A deletion counts only when it is of a service that this incarnation of the store
// has had, and newer than what it had. So the state holds, for each service on disk,
// the last word of the store on it.
type State struct {
	Store string `json:"store"` // its Name; empty: none was ever followed
	source.Position
	Services map[name.Service]Word `json:"services"`
	// Kept is what earlier releases wrote instead of Services: those it Lacks.
	Kept []name.Service `json:"kept,omitempty"`
}

// Word is what a store last said about a service, in its present incarnation. Without one
// it has said nothing.
type Word struct {
	// Rev is the revision that it has. It is empty when the store names none.
	Rev name.Rev `json:"rev,omitempty"`
	// Lacks says that the store does not have the service and has not deleted it: it came
	// from another store, or from another incarnation of this one. It stays, and that was
	// reported.
	Lacks bool `json:"lacks,omitempty"`
}

// Clone returns a copy that shares nothing.
func (s State) Clone() State {
	s.Services = maps.Clone(s.Services)
	s.Kept = slices.Clone(s.Kept)
	return s
}

// Has reports whether the store has said that it has a service.
func (s State) Has(service name.Service) bool {
	word, said := s.Services[service]
	return said && !word.Lacks
}

// Except returns the state with the words of a later one, except those on some services,
// and with its own position. Of another incarnation of the store it takes nothing.
func (s State) Except(later State, services map[name.Service]bool) State {
	s = s.Clone()
	if s.Store != later.Store || s.Instance != later.Instance || later.Services == nil {
		return s
	}
	maps.DeleteFunc(s.Services, func(service name.Service, _ Word) bool { return !services[service] })
	for service, word := range later.Services {
		if !services[service] {
			s.Say(service, word)
		}
	}
	return s
}

// Had returns the services that the store has said it has, sorted.
func (s State) Had() []name.Service {
	services := slices.Sorted(maps.Keys(s.Services))
	return slices.DeleteFunc(services, func(service name.Service) bool { return s.Services[service].Lacks })
}

// Say notes the store's last word on a service.
func (s *State) Say(service name.Service, word Word) {
	if s.Services == nil {
		s.Services = make(map[name.Service]Word)
	}
	s.Services[service] = word
}

// GoesBack reports whether a change is behind what the store has already said: a feed
// that rewinds repeats old things. A deletion has a revision of its own, which is newer
// than what it deletes.
func (s State) GoesBack(c source.Change) bool {
	word := s.Services[c.Service]
	rev, err := name.ParseRev(c.Rev)
	if word.Rev == "" || err != nil {
		return false
	}
	was, is := word.Rev.Generation(), rev.Generation()
	return is < was || is == was && c.Deleted
}

// StatePath returns the file of the state that belongs to a folder of revisions.
func StatePath(revisions string) string { return filepath.Join(revisions, ".since") }

// maxState bounds the file: some thousands of services with long names.
const maxState = 4 << 20

// ReadState reads the state that belongs to a folder of revisions. Without a
// file, or with one that makes no sense, it is the zero State: following then
// begins at the beginning, and what the store does not have stays. The error tells
// about the latter case.
func ReadState(revisions string) (State, error) {
	path := StatePath(revisions)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err == nil {
		err = os.Chmod(path, 0o600) // earlier releases let everyone read it
	}
	if err != nil {
		return State{}, fmt.Errorf("read the position in the store: %w", err)
	}
	state, err := parseState(data)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w; the store is read from its beginning", path, err)
	}
	return state, nil
}

func parseState(data []byte) (State, error) {
	if len(data) > maxState {
		return State{}, fmt.Errorf("is larger than %d KiB", maxState>>10)
	}
	var state State
	if err := json.Unmarshal(data, &state); err != nil {
		return State{}, fmt.Errorf("is not the state of sm-fetch: %w", err)
	}
	if state.Store == "" {
		return State{}, errors.New("is not the state of sm-fetch: it names no store")
	}
	unsafe := func(service name.Service) bool {
		_, err := name.ParseService(string(service))
		return err != nil
	}
	state.Kept = slices.DeleteFunc(state.Kept, unsafe)
	maps.DeleteFunc(state.Services, func(service name.Service, word Word) bool {
		_, err := name.ParseRev(string(word.Rev))
		return unsafe(service) || word.Rev != "" && err != nil
	})
	return state, nil
}

// WriteState replaces the state that belongs to a folder of revisions. What it
// covers must be durable already.
func WriteState(revisions string, state State) error {
	data, err := json.Marshal(state)
	if err == nil {
		err = os.MkdirAll(revisions, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(StatePath(revisions), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the position in the store: %w", err)
	}
	return nil
}
