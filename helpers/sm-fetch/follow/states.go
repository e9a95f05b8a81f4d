package follow

import (
	"slices"
	"sync"
	"time"

	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/store"
)

// states keeps the state on disk close behind the one in memory: not written for
// every change, and never ahead of what is durable.
type states struct {
	revisions string
	interval  time.Duration
	applier   *apply.Applier
	log       apply.Log

	mu      sync.Mutex
	state   store.State
	dirty   bool
	pending *time.Timer // for the next write
}

func openStates(revisions string, interval time.Duration, applier *apply.Applier, log apply.Log) *states {
	state, err := store.ReadState(revisions)
	if err != nil {
		log.Warning("%v", err)
	}
	return &states{revisions: revisions, interval: interval, applier: applier, log: log, state: state}
}

func (s *states) get() store.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	state.Kept = slices.Clone(state.Kept)
	return state
}

// set replaces the state, and writes it at once where that is possible.
func (s *states) set(state store.State) {
	s.mu.Lock()
	s.state, s.dirty = state, true
	s.mu.Unlock()
	s.flush()
}

// reached notes that everything up to a position has been applied.
func (s *states) reached(position store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if position == s.state.Position {
		return
	}
	s.state.Position, s.dirty = position, true
	s.later()
}

// appeared notes that the store has a service that had come from another one.
func (s *states) appeared(c store.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.state.Kept, c.ID); i >= 0 && !c.Deleted {
		s.state.Kept = slices.Delete(slices.Clone(s.state.Kept), i, i+1)
		s.dirty = true
		s.later()
	}
}

func (s *states) later() {
	if s.pending == nil {
		s.pending = time.AfterFunc(s.interval, s.flush)
	}
}

// flush writes the state now, unless a change waits for the end of a removal:
// that change is on disk nowhere, so the state is written after it.
func (s *states) flush() {
	if !s.applier.Settled(s.flush) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		s.pending.Stop()
		s.pending = nil
	}
	if !s.dirty || s.state.Store == "" {
		return
	}
	if err := store.WriteState(s.revisions, s.state); err != nil {
		s.log.Warning("%v; the next start reads the store again", err)
		return
	}
	s.dirty = false
}
