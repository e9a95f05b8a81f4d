package revision

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"service-manager/units/name"
	"service-manager/units/revision/atomicfile"
)

// A newer revision that differs only in the number of replicas runs as the one before it:
// that keeps its units and containers, and has a file that says how many replicas there
// should be, and which revision says so. The file goes with the revision that it is
// about. Readers of revisions pass over it.

// ScalePrefix is what the name of such a file begins with.
const ScalePrefix = ".replicas-"

// Scale is how many replicas a revision should have instead of what it says itself.
type Scale struct {
	Replicas int
	By       name.Rev // the revision that says so; empty when none does
}

func (s Store) scalePath(r name.Revision) string {
	return of(s.Root, r.Service, ScalePrefix+string(r.Rev))
}

// SetScale says how many replicas a revision should have.
func (s Store) SetScale(r name.Revision, scale Scale) error {
	text := fmt.Sprintf("%d %s\n", scale.Replicas, scale.By)
	if err := atomicfile.Write(s.scalePath(r), []byte(text), fileMode); err != nil {
		return fmt.Errorf("%s: set the number of its replicas: %w", r, err)
	}
	return nil
}

// Scale returns how many replicas a revision should have, if that is not what it says
// itself.
func (s Store) Scale(r name.Revision) (Scale, error) {
	path := s.scalePath(r)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Scale{}, nil
	}
	if err != nil {
		return Scale{}, fmt.Errorf("%s: read the number of its replicas: %w", r, err)
	}
	var scale Scale
	var by string
	n, _ := fmt.Sscanf(string(text), "%d %s\n", &scale.Replicas, &by)
	scale.By, err = name.ParseRev(by)
	if n != 2 || err != nil || scale.Replicas < 1 || scale.Replicas > name.MaxReplicas {
		return Scale{}, fmt.Errorf("%s: %s does not say how many replicas there should be, and by which revision; remove it", r, path)
	}
	return scale, nil
}

// Replicas returns how many replicas a revision should have. With an error it is how many
// have units: what the revision says itself, or one if it cannot be read.
func (s Store) Replicas(r name.Revision) (int, error) {
	scale, damaged := s.Scale(r)
	if scale.By != "" {
		return scale.Replicas, nil
	}
	d, err := s.Read(r)
	if err != nil {
		return 1, errors.Join(damaged, err)
	}
	return d.Replicas, damaged
}
