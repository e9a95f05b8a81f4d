package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/pkg/jsonmessage"

	"service-manager/units/printable"
)

// readProgress reads the daemon's answer to a pull to its end. It calls moved whenever
// the pull has made progress, and returns the error that the daemon reports.
func readProgress(stream io.Reader, moved func(Progress)) error {
	decoder := json.NewDecoder(stream)
	var p Progress
	for {
		var m jsonmessage.JSONMessage
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the progress of the pull: %w", err)
		}
		if m.Error != nil {
			return m.Error
		}
		if p.update(m) {
			moved(p)
		}
	}
}

// Progress is how far a pull has come.
type Progress struct{ layers map[string]*layer }

type layer struct {
	stage          stage
	current, total int64 // bytes downloaded
	unpacked       int64 // bytes, or seconds with some storage drivers
}

type stage int

const (
	waiting stage = iota
	downloading
	downloaded
	unpacking
	done
)

var stages = map[string]stage{
	"Pulling fs layer":   waiting,
	"Waiting":            waiting,
	"Downloading":        downloading,
	"Verifying Checksum": downloaded,
	"Download complete":  downloaded,
	"Extracting":         unpacking,
	"Pull complete":      done,
	"Already exists":     done,
}

// update takes in a message and reports whether it shows progress. Retries and
// repetitions are none.
func (p *Progress) update(m jsonmessage.JSONMessage) bool {
	stage, ok := stages[m.Status]
	if !ok || m.ID == "" {
		return false
	}
	l := p.layers[m.ID]
	moved := l == nil
	if l == nil {
		if p.layers == nil {
			p.layers = make(map[string]*layer)
		}
		l = &layer{stage: stage}
		p.layers[m.ID] = l
	}
	if stage > l.stage {
		l.stage, moved = stage, true
	}
	var current, total int64
	if m.Progress != nil {
		current, total = m.Progress.Current, m.Progress.Total
	}
	switch stage {
	case downloading:
		l.total = max(l.total, total)
		if current > l.current {
			l.current, moved = current, true
		}
	case unpacking:
		if current > l.unpacked {
			l.unpacked, moved = current, true
		}
	}
	if l.stage > downloading {
		l.current = l.total
	}
	return moved
}

// String gives bytes and layers, like "12.3 of 40.1 MB, 3 of 7 layers". The size of a
// layer is known once its download has begun.
func (p Progress) String() string {
	current, total, finished, fetched := p.sum()
	layers := fmt.Sprintf("%d of %s", finished, printable.Count(len(p.layers), "layer"))
	switch {
	case len(p.layers) == 0:
		return "asking the registry"
	case fetched && finished < len(p.layers):
		return fmt.Sprintf("%s MB, unpacking, %s", megabytes(total), layers)
	case total == 0:
		return layers
	}
	return fmt.Sprintf("%s of %s MB, %s", megabytes(current), megabytes(total), layers)
}

// Summary says what a finished pull has fetched, like "40.1 MB, 7 layers".
func (p Progress) Summary() string {
	if len(p.layers) == 0 {
		return "it was up to date"
	}
	_, total, _, _ := p.sum()
	return fmt.Sprintf("%s MB, %s", megabytes(total), printable.Count(len(p.layers), "layer"))
}

// sum adds up the layers: bytes downloaded and their total, the number of layers
// that are done, and whether all are downloaded.
func (p Progress) sum() (current, total int64, finished int, fetched bool) {
	fetched = true
	for _, l := range p.layers {
		current += l.current
		total += l.total
		if l.stage == done {
			finished++
		}
		fetched = fetched && l.stage > downloading
	}
	return current, total, finished, fetched
}

// megabytes prints a number of bytes in units of 1,000,000.
func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
