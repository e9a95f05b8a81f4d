package ipvs

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/moby/ipvs"
)

// kernel stands in for the kernel's table, which calls update for the one change that a
// test expects.
type kernel struct {
	table
	update func(*ipvs.Destination) error
}

func (k kernel) UpdateDestination(_ *ipvs.Service, d *ipvs.Destination) error { return k.update(d) }

// A drain must begin on a full /run, too: without it connections are cut.
func TestQuiesceBeginsInTheKernel(t *testing.T) {
	for _, test := range []struct {
		name     string
		weight   int
		writable bool
	}{
		{"noted", 1, true},
		{"a large weight", 65535, true},
		{"it cannot be noted", 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inFolder(t)
			n := note{owner: "0123", scheduler: "rr", weight: test.weight, namespace: "net:[1]", assign: true}
			if err := n.write(web, container); err != nil {
				t.Fatal(err)
			}
			path := notePath(web, container)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			updates := 0
			h := &Handle{moby: kernel{update: func(d *ipvs.Destination) error {
				updates++
				if d.Weight != 0 {
					t.Errorf("the weight becomes %d, want 0", d.Weight)
				}
				if now, _, err := readNote(web, container); err != nil || now != n {
					t.Errorf("before the kernel's weight, the note has become %+v, %v", now, err)
				}
				if test.writable {
					return nil
				}
				return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
			}}}
			mine, err := h.Quiesce(context.Background(), web, container, "0123")
			if !mine || updates != 1 || errors.Is(err, ErrUnnoted) == test.writable {
				t.Errorf("Quiesce = %t, %v after %d changes of the kernel", mine, err, updates)
			}
			if !test.writable {
				return
			}
			n.weight = 0
			if now, _, err := readNote(web, container); err != nil || now != n {
				t.Errorf("the note is %+v, %v; want %+v", now, err, n)
			}
			// It takes no space.
			after, err := os.Stat(path)
			if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
				t.Errorf("the note is another file, or of another size: %v", err)
			}
		})
	}
}

func TestQuiesceLeavesAnotherOwner(t *testing.T) {
	inFolder(t)
	n := note{owner: "0123", scheduler: "rr", weight: 1, namespace: "net:[1]"}
	if err := n.write(web, container); err != nil {
		t.Fatal(err)
	}
	h := &Handle{moby: kernel{update: func(*ipvs.Destination) error {
		t.Error("the destination of another owner was changed")
		return nil
	}}}
	if mine, err := h.Quiesce(context.Background(), web, container, "4567"); mine || err != nil {
		t.Errorf("Quiesce = %t, %v; want that it is another's", mine, err)
	}
	if now, _, err := readNote(web, container); err != nil || now != n {
		t.Errorf("the note is %+v, %v; want %+v", now, err, n)
	}
}
