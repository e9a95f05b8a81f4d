package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/running"
	"service-manager/helpers/internal/systemd"
	"service-manager/helpers/internal/watch"
)

const watchHelp = `
Usage: sm-healthcheck watch

Watches over the containers of this host that sm-docker-run has started with a run
record, and over what sm-ipvs has added to the load balancer:

  A container that was asked with --failures is asked for as long as it runs. When
  it has failed so often in a row, it gets no new connections until it is healthy
  again, unless no other destination of the virtual service gets any. When it has
  been unhealthy for --restart-after, its unit is restarted: one of a service at a
  time.
  A container whose first process has ended leaves the load balancer at once.
  What another program removes from the load balancer is put back within a second.

Nothing is touched that sm-ipvs has not added. When watch ends in order, all get
connections again as their units said; killed, it continues where it was.

In a unit:
  ExecStart=sm-healthcheck watch
`

// balancer is what a keeper needs of the kernel's load balancer.
type balancer interface {
	Wanted(ctx context.Context) ([]ipvs.Wanted, error)
	Services() ([]ipvs.Service, error)
	Restore(ctx context.Context, addresses ...ipvs.Address) ([]ipvs.Place, error)
	Rest(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string, rests bool) error
	Evict(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) error
	Remove(ctx context.Context, at ipvs.Address, to netip.AddrPort, owner string) error
	Close()
}

func watchAll(ctx context.Context, w command.World) error {
	flags := command.NewFlags("sm-healthcheck watch", watchHelp)
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	if flags.NArg() != 0 {
		return command.Usagef("watch takes no arguments (got %q)", flags.Arg(0))
	}
	k := &keeper{
		w:          w,
		containers: running.Host,
		open:       func() (balancer, error) { return ipvs.Open() },
		reachable:  ipvs.Reachable,
		restart:    restartUnit,
		changed:    make(chan struct{}, 1),
		subjects:   make(map[string]*subject),
		restarting: make(map[string]bool),
	}
	return k.run(ctx)
}

func restartUnit(ctx context.Context, unit string) error {
	conn, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.TryRestartAndWait(ctx, unit)
}

// keeper watches over the containers of a host.
type keeper struct {
	w          command.World
	containers running.Folder
	open       func() (balancer, error)
	reachable  func(ipvs.Address) (bool, error)
	restart    func(ctx context.Context, unit string) error // and waits for that
	changed    chan struct{}                                // the health of one

	mu         sync.Mutex
	subjects   map[string]*subject // by the id of the container
	wanted     []ipvs.Wanted       // when they last changed
	restarting map[string]bool     // services of which one is restarted

	warned string // the last warning
}

const (
	// lookEvery is how often the kernel's table is looked at.
	lookEvery = 400 * time.Millisecond
	// forgetAfter is how long after its end a container is forgotten, with what its unit
	// has failed to remove.
	forgetAfter = 30 * time.Second
)

// run watches until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	files, err := watch.New()
	if err != nil {
		return err
	}
	defer files.Close()
	ready := sync.OnceFunc(k.w.Notify.Ready)
	for read := true; ; {
		begin := time.Now()
		if read {
			err = errors.Join(files.Sync([]string{string(k.containers), ipvs.NoteFolder}), k.sync(ctx))
		}
		err = errors.Join(err, k.pass(ctx))
		if ctx.Err() != nil {
			break
		}
		k.warn(err)
		// What could not be read is read again.
		read = err != nil
		ready()
		k.w.Notify.Status("%s", k.status())
		select {
		case <-ctx.Done():
		case <-files.Changed():
			read = true
		case <-k.changed:
		// With very many services it takes a tenth of a processor, not all of it.
		case <-time.After(max(lookEvery, 9*time.Since(begin))):
		}
		if ctx.Err() != nil {
			break
		}
		err = nil
	}
	return k.end(context.WithoutCancel(ctx))
}

// warn says what is wrong, once for as long as that is the same.
func (k *keeper) warn(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.warned && err != nil {
		k.w.Warn(err)
	}
	k.warned = text
}

// sync begins to watch over what is new, and ends that of what is gone.
func (k *keeper) sync(ctx context.Context) error {
	noted, err := k.containers.All()
	problems := []error{err}
	wanted, err := k.readWanted(ctx)
	problems = append(problems, err)
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
		if !there[id] {
			s.release()
			delete(k.subjects, id)
		}
	}
	if err == nil {
		k.wanted = wanted
	}
	return errors.Join(problems...)
}

func (k *keeper) readWanted(ctx context.Context) ([]ipvs.Wanted, error) {
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

// follow has a subject watched until it is released.
func (k *keeper) follow(ctx context.Context, s *subject) {
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

func (k *keeper) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// hasEnded takes a container that has ended out of the load balancer. It does not wait for
// the next look at the whole table: until then clients are lost.
func (k *keeper) hasEnded(ctx context.Context, s *subject) {
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

func evict(ctx context.Context, b balancer, ended []ipvs.Wanted) error {
	var problems []error
	for _, d := range ended {
		problems = append(problems, b.Evict(ctx, d.Address, d.Destination, d.Owner))
	}
	return errors.Join(problems...)
}

// pass compares what is with what shall be, and does what is to be done about it.
func (k *keeper) pass(ctx context.Context) error {
	k.restartSome(ctx)
	b, err := k.open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return k.forget(ctx, nil) // there are no destinations
	}
	if err != nil {
		return err
	}
	defer b.Close()
	services, err := b.Services()
	if err != nil {
		return err
	}
	k.mu.Lock()
	c := careFor(k.wanted, services, k.healthOf)
	addresses := make([]ipvs.Address, 0, len(k.wanted))
	for _, d := range k.wanted {
		addresses = append(addresses, d.Address)
	}
	k.mu.Unlock()
	problems := []error{evict(ctx, b, c.evict), k.putBack(ctx, b, c.restore, addresses)}
	for _, d := range c.rest {
		problems = append(problems, k.rest(ctx, b, d, true))
	}
	for _, d := range c.serve {
		problems = append(problems, k.rest(ctx, b, d, false))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	k.settle(c)
	return k.forget(ctx, b)
}

func (k *keeper) healthOf(owner string) health {
	if s := k.subjects[owner]; s != nil {
		return s.health()
	}
	return fine
}

// putBack restores what is missing at some addresses, or for clients of all.
func (k *keeper) putBack(ctx context.Context, b balancer, missing, all []ipvs.Address) error {
	if len(missing) == 0 {
		open, err := k.allOpen(all)
		if err != nil || open {
			return err
		}
		missing = all
	}
	restored, err := b.Restore(ctx, missing...)
	for _, r := range restored {
		fmt.Fprintf(k.w.Stdout, "put %s back at %s: it was missing in the kernel\n", r.Destination, r.Address)
	}
	return err
}

// allOpen reports whether clients reach the addresses, as far as the first one of each
// family tells.
func (k *keeper) allOpen(addresses []ipvs.Address) (bool, error) {
	looked := make(map[bool]bool)
	for _, at := range addresses {
		six := at.Addr().Is6()
		if looked[six] {
			continue
		}
		looked[six] = true
		if open, err := k.reachable(at); err != nil || !open {
			return false, err
		}
	}
	return true, nil
}

// rest lets a destination have no new connections, or gives it those again that its unit
// gave it, and says so.
func (k *keeper) rest(ctx context.Context, b balancer, d ipvs.Wanted, rests bool) error {
	if err := b.Rest(ctx, d.Address, d.Destination, d.Owner, rests); err != nil {
		return err
	}
	what := "gets connections again"
	if rests {
		what = "gets no new connections"
	}
	fmt.Fprintf(k.w.Stdout, "%s: %s at %s\n", k.nameOf(d), what, d.Address)
	return nil
}

func (k *keeper) nameOf(d ipvs.Wanted) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.subjects[d.Owner]; s != nil {
		return s.Name
	}
	return d.Destination.String()
}

// settle notes what was done about subjects.
func (k *keeper) settle(c care) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.subjects {
		if s.health() == well {
			s.settled = true
		}
	}
	for _, d := range c.last {
		if s := k.subjects[d.Owner]; s != nil && !s.alone {
			s.alone = true
			fmt.Fprintf(k.w.Stdout, "%s: keeps its connections at %s: no other one gets any\n", s.Name, d.Address)
		}
	}
}

// forget removes what is left of containers that have ended a while ago.
func (k *keeper) forget(ctx context.Context, b balancer) error {
	var gone []*subject
	k.mu.Lock()
	for _, s := range k.subjects {
		if !s.ended.IsZero() && time.Since(s.ended) >= forgetAfter {
			gone = append(gone, s)
		}
	}
	wanted := k.wanted
	k.mu.Unlock()
	var problems []error
	for _, s := range gone {
		var left error
		for _, d := range wanted {
			if d.Owner == s.ID {
				left = errors.Join(left, b.Remove(ctx, d.Address, d.Destination, d.Owner))
			}
		}
		if left == nil {
			left = k.containers.Forget(s.ID)
		}
		problems = append(problems, left)
	}
	return errors.Join(problems...)
}

// restartSome restarts units of containers that have been unhealthy for too long, one of
// a service at a time.
func (k *keeper) restartSome(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, s := range k.subjects {
		if s.health() != failing || s.restarts.IsZero() || now.Before(s.restarts) || s.Unit == "" || k.restarting[s.service()] {
			continue
		}
		k.restarting[s.service()] = true
		// If that does not help, once more after that time.
		s.restarts = now.Add(s.Check.RestartAfter)
		fmt.Fprintf(k.w.Stdout, "%s: unhealthy for %s: restarting %s\n", s.Name, now.Sub(s.since).Round(time.Second), s.Unit)
		go func() {
			err := k.restart(ctx, s.Unit)
			if err != nil && ctx.Err() == nil {
				k.w.Warn(fmt.Errorf("%s: %w", s.Name, err))
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.restarting, s.service())
		}()
	}
}

// end gives all that rest their connections again: from now on nothing would.
func (k *keeper) end(ctx context.Context) error {
	k.w.Notify.Stopping()
	b, err := k.open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	var problems []error
	for _, d := range k.wanted {
		if s := k.subjects[d.Owner]; s != nil && s.Check != nil {
			problems = append(problems, b.Rest(ctx, d.Address, d.Destination, d.Owner, false))
		}
	}
	return errors.Join(problems...)
}

// status says how all of them are.
func (k *keeper) status() string {
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
	text := fmt.Sprintf("watching %d containers", n)
	if n == 1 {
		text = "watching 1 container"
	}
	if len(bad) > 0 {
		text += ", unhealthy: " + strings.Join(bad, ", ")
	}
	return text
}

// serviceOf returns what comes before the @ in the name of a unit, or all of it.
func serviceOf(unit string) string {
	service, _, _ := strings.Cut(unit, "@")
	return service
}
