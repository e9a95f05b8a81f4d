package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"service-manager/units/definition"
	"service-manager/units/revision/atomicfile"
)

// State is how far the revisions on disk have followed which store. It lies
// beside them, so that a restart goes on where the last run ended.
type State struct {
	Store string `json:"store"` // its Name; empty: none was ever followed
	Position
	// Kept are services that came from another store and that this one has never
	// had, so that their absence from it means nothing. Sorted.
	Kept []string `json:"kept,omitempty"`
}

// StatePath returns the file of the state that belongs to a folder of revisions.
func StatePath(revisions string) string { return filepath.Join(revisions, ".since") }

// maxState bounds the file: a thousand kept services of the longest name.
const maxState = 128 << 10

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
		return State{}, fmt.Errorf("read how far the store was followed: %w", err)
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
	state.Kept = slices.DeleteFunc(state.Kept, func(name string) bool { return definition.CheckService(name) != nil })
	slices.Sort(state.Kept)
	state.Kept = slices.Compact(state.Kept)
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
		return fmt.Errorf("write how far the store was followed: %w", err)
	}
	return nil
}
