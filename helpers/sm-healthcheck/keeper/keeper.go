// Package keeper watches over the containers of a host while they run: over their health,
// their life, and their place in the kernel's load balancer.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/recurring"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/watch"
	"service-manager/units/printable"
)

// New returns a keeper of the containers of this host, whose messages are those of that
// helper.
func New(w command.World) *Keeper {
	return &Keeper{
		w:          w,
		containers: running.Host,
		open:       func() (balancer, error) { return ipvs.Open() },
		reachable:  new(ipvs.Way).Reachable,
		restart:    restartUnit,
		changed:    make(chan struct{}, 1),
		subjects:   make(map[string]*subject),
		restarting: make(map[string]bool),
	}
}

// Keeper watches over the containers of a host.
type Keeper struct {
	w          command.World
	containers running.Folder
	open       func() (balancer, error)
	reachable  func(...ipvs.Address) (bool, error)
	restart    func(ctx context.Context, unit string) error // and waits for that
	changed    chan struct{}                                // the health of one

	mu         sync.Mutex
	subjects   map[string]*subject // by the id of the container
	wanted     []ipvs.Wanted       // when they last changed
	restarting map[string]bool     // services of which one is restarted

	trouble recurring.Problem
}

const (
	// lookEvery is the time between looks at the kernel's table.
	lookEvery = 400 * time.Millisecond
	// longestRest is how long it looks at nothing after a look that took long, such as the
	// one that has put back thousands of services.
	longestRest = 5 * time.Second
	// forgetAfter is how long after its end a container is forgotten, with what its unit
	// failed to remove.
	forgetAfter = 30 * time.Second
)

// Run watches until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	files := watch.New(k.w.Warn)
	defer files.Close()
	ready := sync.OnceFunc(k.w.Notify.Ready)
	status := ""
	for read := true; ; {
		begin := processorTime()
		var err error
		if read {
			err = errors.Join(files.Sync([]string{string(k.containers), ipvs.NoteFolder}), k.sync(ctx))
		}
		err = errors.Join(err, k.pass(ctx))
		if ctx.Err() != nil {
			break
		}
		k.warn(err)
		ready()
		if now := k.status(); now != status {
			status = now
			k.w.Notify.Status("%s", status)
		}
		// With very many services it takes a fifth of a processor, not all of it.
		rest := min(4*(processorTime()-begin), longestRest)
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
		// What could not be read is read again.
		read = err != nil || files.Blind()
		select {
		case <-ctx.Done():
		case <-files.Changed():
			read = true
		case <-k.changed:
		// Not at once: what has changed by now goes first.
		case <-time.After(max(lookEvery-rest, time.Millisecond)):
		}
	}
	return k.end(context.WithoutCancel(ctx))
}

// processorTime returns how much processor time this process has used.
func processorTime() time.Duration {
	var used unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used) // its own is never refused
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// warn reports what is wrong when that is news, and its end.
func (k *Keeper) warn(err error) {
	if err == nil {
		if after := k.trouble.Gone(); after != "" {
			fmt.Fprintf(k.w.Stdout, "no more errors, after %s\n", after)
		}
	} else if k.trouble.News(err.Error()) {
		k.w.Warn(err)
	}
}

// sync starts to watch what is new, and stops watching what is gone.
func (k *Keeper) sync(ctx context.Context) error {
	noted, unread := k.containers.All()
	wanted, err := k.readWanted(ctx)
	problems := []error{unread, err}
	there := make(map[string]bool)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range noted {
		there[c.ID] = true
		before := k.subjects[c.ID]
		if before != nil && before.same(c) {
			continue
		}
		s, problem := newSubject(c)
		problems = append(problems, problem)
		if problem != nil && s.process == nil {
			continue // it is tried again
		}
		if before != nil {
			before.release()
		}
		k.subjects[c.ID] = s
		k.follow(ctx, s)
	}
	for id, s := range k.subjects {
		if !there[id] && unread == nil {
			s.release()
			delete(k.subjects, id)
		}
	}
	if err == nil {
		k.wanted = wanted
	}
	return errors.Join(problems...)
}

func (k *Keeper) readWanted(ctx context.Context) ([]ipvs.Wanted, error) {
	b, err := k.open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return b.Wanted(ctx)
}

// follow watches a subject until it is released.
func (k *Keeper) follow(ctx context.Context, s *subject) {
	ctx, s.release = context.WithCancel(ctx)
	if s.process == nil {
		return
	}
	go func() {
		defer s.process.Close()
		if s.process.Wait(ctx) == nil {
			k.hasEnded(ctx, s)
		}
	}()
	if s.probe != nil {
		go s.ask(ctx, func(err error) {
			k.mu.Lock()
			before := s.health()
			text := s.note(err, time.Now())
			after := s.health()
			k.mu.Unlock()
			if text != "" {
				fmt.Fprintln(k.w.Stdout, text)
			}
			if after != before {
				k.wake()
			}
		})
	}
}

func (k *Keeper) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// hasEnded removes a container that has ended from the load balancer. It does not wait
// for the next look at the whole table: until then clients are lost.
func (k *Keeper) hasEnded(ctx context.Context, s *subject) {
	k.mu.Lock()
	s.ended = time.Now()
	var its []ipvs.Wanted
	for _, d := range k.wanted {
		if d.Owner == s.ID {
			its = append(its, d)
		}
	}
	k.mu.Unlock()
	s.release()
	if len(its) > 0 {
		if b, err := k.open(); err == nil {
			// What fails here is seen at the next look.
			_ = evict(context.WithoutCancel(ctx), b, its)
			b.Close()
		}
	}
	k.wake()
}

// status says how all of them are.
func (k *Keeper) status() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	var bad []string
	for _, s := range k.subjects {
		switch s.health() {
		case ended:
			continue
		case failing:
			bad = append(bad, s.Name)
		}
		n++
	}
	text := "watching " + printable.Count(n, "container")
	if len(bad) > 0 {
		text += ", unhealthy: " + strings.Join(bad, ", ")
	}
	return text
}
