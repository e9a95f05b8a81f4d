package apply

import (
	"fmt"
	"strings"
	"testing"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// A revision that differs from the good one only in the number of replicas does not
// become current, whatever store it comes from, and however often it comes.
func TestScale(t *testing.T) {
	document := func(image string, replicas int) string {
		return fmt.Sprintf(`{"image": %q, "address": "172.17.0.1:7001", "port": 80, "replicas": %d}`, image, replicas)
	}
	named := func(generation int, document string) source.Change {
		return source.Change{Service: "web", Rev: fmt.Sprintf("%d-%s", generation, digestOf(t, document)), Document: []byte(document)}
	}
	unnamed := func(_ int, document string) source.Change { return file(document) }
	for store, change := range map[string]func(int, string) source.Change{"CouchDB": named, "folder": unnamed} {
		t.Run(store, func(t *testing.T) {
			a := newApplier(t)
			first := a.must(t, change(1, document("a", 1)))
			serves(t, a, "web", first)
			good := first
			for i, step := range []struct {
				document string
				replicas int       // of the good revision
				current  *name.Rev // nil when it is a new one
				lines    int       // that are logged
			}{
				{document("a", 3), 3, &good, 1},
				{document("a", 3), 3, &good, 0}, // as when sm-fetch begins
				{document("a", 2), 2, &good, 1},
				{document("a", 1), 1, &good, 1},
				{document("a", 4), 4, &good, 1},
				{document("b", 4), 4, nil, 1}, // which is not good yet
				{document("b", 5), 4, nil, 1},
				{document("a", 2), 4, nil, 1},
			} {
				log := a.Log.(*lines)
				log.lines = nil
				before, _ := a.Revisions.Current("web")
				now := a.must(t, change(2+i/2, step.document))
				if step.current != nil && now != *step.current || step.current == nil && now == before {
					t.Errorf("step %d: current is %s, was %s", i, now, before)
				}
				if n, err := a.Revisions.Replicas(revisionOf(good)); n != step.replicas || err != nil {
					t.Errorf("step %d: %d replicas, %v; want %d", i, n, err, step.replicas)
				}
				if len(log.lines) != step.lines {
					t.Errorf("step %d: logged %q; want %d lines", i, log.lines, step.lines)
				}
			}
			// What became good meanwhile has the number of its own.
			now, _ := a.Revisions.Current("web")
			serves(t, a, "web", now)
			if n, err := a.Revisions.Replicas(revisionOf(now)); n != 2 || err != nil {
				t.Errorf("%d replicas, %v; want 2", n, err)
			}
		})
	}
}

// The store goes back to the revision itself, for example because a database was
// restored.
func TestScaleBack(t *testing.T) {
	a := newApplier(t)
	one := `{"image": "a", "address": "172.17.0.1:7001", "port": 80}`
	three := strings.Replace(one, "{", `{"replicas": 3, `, 1)
	before := source.Change{Service: "web", Rev: "1-" + digestOf(t, one), Document: []byte(one)}
	good := a.must(t, before)
	serves(t, a, "web", good)
	a.must(t, source.Change{Service: "web", Rev: "2-" + digestOf(t, three), Document: []byte(three)})
	for range 2 {
		a.must(t, before)
		scale, err := a.Revisions.Scale(revisionOf(good))
		if want := (revision.Scale{Replicas: 1, By: good}); scale != want || err != nil {
			t.Errorf("%+v, %v; want %+v", scale, err, want)
		}
	}
}

func revisionOf(rev name.Rev) name.Revision { return name.Service("web").Revision(rev) }

// serves makes a revision the good one.
func serves(t *testing.T, a *Applier, service name.Service, rev name.Rev) {
	t.Helper()
	if err := a.Revisions.SetGood(service.Revision(rev)); err != nil {
		t.Fatal(err)
	}
}
