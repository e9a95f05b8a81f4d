package follow

import (
	"slices"
	"sync"
	"time"

	"service-manager/helpers/sm-fetch/apply"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// settler knows whether everything that was applied is on disk, see
// [apply.Applier.Unsettled].
type settler interface {
	Unsettled(f func()) map[name.Service]bool
}

// states keeps the state on disk close behind the one in memory: it is not written for
// every change, and never ahead of what is durable.
type states struct {
	revisions string
	interval  time.Duration
	applier   settler
	log       apply.Log

	writing sync.Mutex // held while the file is written
	written State      // what is in it

	mu      sync.Mutex
	state   State
	dirty   bool
	pending *time.Timer // for the next write
}

func openStates(revisions string, interval time.Duration, applier settler, log apply.Log) *states {
	state, err := ReadState(revisions)
	if err != nil {
		log.Warning("%v", err)
	}
	if state.Store != "" && state.Services == nil {
		// An earlier release has written it, or there was nothing on disk yet.
		services, _ := revision.Store{Root: revisions}.Services() // what cannot be read is kept
		for _, service := range services {
			state.Say(service, Word{Lacks: slices.Contains(state.Kept, service)})
		}
	}
	state.Kept = nil
	return &states{revisions: revisions, interval: interval, applier: applier, log: log, state: state, written: state.Clone()}
}

func (s *states) get() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Clone()
}

// set replaces the state, and writes it at once where that is possible.
func (s *states) set(state State) {
	s.mu.Lock()
	s.state, s.dirty = state.Clone(), true
	s.mu.Unlock()
	s.flush()
}

// soon replaces the state, which is written before long.
func (s *states) soon(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.dirty = state.Clone(), true
	if s.pending == nil {
		s.pending = time.AfterFunc(s.interval, s.flush)
	}
}

// flush writes the state now. Where a change waits for the end of a removal, it is on disk
// nowhere: then only the words on other services are written, and the position after it.
func (s *states) flush() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.pending != nil {
		s.pending.Stop()
		s.pending = nil
	}
	state, dirty := s.state.Clone(), s.dirty
	s.dirty = false
	s.mu.Unlock()
	if !dirty || state.Store == "" {
		return
	}
	// This is asked after the state was copied: what begins to wait from now on is
	// not in the copy.
	busy := s.applier.Unsettled(s.flush)
	if busy != nil {
		state = s.written.Except(state, busy)
	}
	var err error
	if state.Store != "" {
		err = WriteState(s.revisions, state)
	}
	if err != nil {
		s.log.Warning("%v; the next start reads the store again", err)
	} else {
		s.written = state
	}
	if err != nil || busy != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
}
