package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/sm-fetch/apply"
	"service-manager/helpers/sm-fetch/follow"
	"service-manager/helpers/sm-fetch/pool"
	"service-manager/helpers/sm-fetch/reload"
	"service-manager/units"
	"service-manager/units/definition"
	"service-manager/units/host"
	"service-manager/units/name"
	"service-manager/units/revision"
	"service-manager/units/revision/atomicfile"
)

// Where things are below the root.
const (
	services  = "/etc/service-manager/services"
	generated = "/run/systemd/generator"
)

// stopRetry is how long to wait before systemd is asked again for what it failed
// to do.
const stopRetry = 5 * time.Second

// cleanWait is how long a start waits for locks before it cleans up without them.
const cleanWait = 5 * time.Second

// cleanAgain is how long after the start what was too young to be removed then is old
// enough. A variable for tests.
var cleanAgain = atomicfile.Longest + time.Second

// run is the whole helper. system is what it asks of systemd.
func run(ctx context.Context, w command.World, system system) error {
	return command.Verbs(w, help, map[string]func(command.World) error{
		"follow": func(w command.World) error {
			s, err := parse(w, "follow")
			if err != nil {
				return err
			}
			if len(s.arguments) > 0 {
				return command.Usagef("follow takes no arguments (got %q)", s.arguments[0])
			}
			return s.follow(ctx, w, system)
		},
		"once": func(w command.World) error {
			s, err := parse(w, "once")
			if err != nil {
				return err
			}
			services := make([]name.Service, len(s.arguments))
			for i, argument := range s.arguments {
				if services[i], err = name.ParseService(argument); err != nil {
					return command.Usagef("the name of a service %v", err)
				}
			}
			return s.once(ctx, w, system, services)
		},
	})
}

// settings are what the command line and the environment say.
type settings struct {
	root, services, generated string
	couchdb                   string
	pool                      *pool.Pool // nil without ADDRESSES=
	arguments                 []string
}

func parse(w command.World, verb string) (settings, error) {
	var s settings
	flags := command.NewFlags("sm-fetch "+verb, help)
	flags.StringVar(&s.root, "root", "/", "read and write below `dir` instead of / (for tests and images)")
	flags.StringVar(&s.services, "services", "", "the `folder` with definitions (default "+services+")")
	flags.StringVar(&s.generated, "generated", "", "the `folder` that the generator writes to (default "+generated+")")
	if err := flags.Parse(w, w.Args); err != nil {
		return settings{}, err
	}
	var err error
	if s.couchdb, err = s.database(w); err != nil {
		return settings{}, err
	}
	if s.pool, err = s.addresses(w); err != nil {
		return settings{}, err
	}
	if s.services == "" {
		s.services = filepath.Join(s.root, services)
	}
	if s.generated == "" {
		s.generated = filepath.Join(s.root, generated)
	}
	s.arguments = flags.Args()
	return s, nil
}

// database returns the URL of the database that is the store, empty when a folder is. If
// the environment does not say, the settings file does: someone who calls this program by
// hand means the store that the host follows.
func (s settings) database(w command.World) (string, error) {
	if url, ok := w.Env("COUCHDB_URL"); ok || s.services != "" {
		return url, nil
	}
	return host.Setting(s.root, "COUCHDB_URL")
}

// addresses returns the pool that ADDRESSES= describes, nil without that.
func (s settings) addresses(w command.World) (*pool.Pool, error) {
	text, ok := w.Env("ADDRESSES")
	if !ok {
		var err error
		if text, err = host.Setting(s.root, "ADDRESSES"); err != nil {
			return nil, err
		}
	}
	if text == "" {
		return nil, nil
	}
	r, err := pool.ParseRange(text)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("ADDRESSES= %w", err), "edit %s", filepath.Join(s.root, host.Settings))
	}
	return &pool.Pool{Range: r, Path: filepath.Join(s.root, revision.Root, ".addresses.json")}, nil
}

// parts are the parts of a run, put together.
type parts struct {
	log      *journal
	follower *follow.Follower
	reloader *reload.Reloader
}

func (s settings) assemble(w command.World, system system, retry time.Duration) (*parts, error) {
	log := newJournal(w)
	revisions := revision.Store{Root: filepath.Join(s.root, revision.Root), Run: filepath.Join(s.root, revision.Run), Known: new(revision.Known)}
	reloader := &reload.Reloader{
		Wanted: func() ([]units.File, error) {
			h, err := host.Read(s.root, revisions.Known)
			return units.Render(h), err
		},
		Generated: s.generated,
		Reload:    system.reload,
		Roots:     []string{revisions.Root, revisions.Run},
		Log:       log,
		Times:     reload.DefaultTimes,
	}
	// The sockets are those of this host, whose root may be another one.
	var listening func(definition.Address) (netip.AddrPort, bool)
	if s.root == "/" {
		listening = apply.Listening
	}
	definitions, err := s.open(log)
	if err != nil {
		return nil, err
	}
	return &parts{log, &follow.Follower{
		Store: definitions,
		Applier: &apply.Applier{
			Revisions: revisions,
			Stop: func(ctx context.Context, service name.Service) error {
				return system.stop(ctx, service, func(units string) { log.Info("%s: waits for %s to stop", service, units) })
			},
			Reload:    reloader.Now,
			Forget:    system.forget,
			Busy:      system.busy,
			Retry:     retry,
			Log:       log,
			Source:    definitions.Name(),
			Root:      s.root,
			Addresses: func() (map[name.Service]netip.AddrPort, error) { return host.Addresses(s.root) },
			Pool:      s.pool,
			Listening: listening,
		},
		Revisions: revisions.Root,
		Log:       log,
		Notify:    w.Notify,
		Times:     follow.DefaultTimes,
	}, reloader}, nil
}

// resume continues removals that the last run had begun.
func (p *parts) resume(ctx context.Context) {
	if err := p.follower.Applier.Resume(ctx); err != nil {
		p.log.Warning("%v", err)
	}
}

// clean removes what the last run left behind. What holds a lock now may be writing; what
// it leaves behind is removed at the next start.
func (p *parts) clean(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, cleanWait)
	defer cancel()
	if err := p.follower.Applier.Revisions.Clean(short); err != nil && ctx.Err() == nil {
		p.log.Warning("clean up after the last run: %v", err)
	}
}

// once is sm-fetch once.
func (s settings) once(ctx context.Context, w command.World, system system, services []name.Service) error {
	p, err := s.assemble(w, system, 0)
	if err != nil {
		return err
	}
	p.resume(ctx)
	outcome := p.follower.Once(ctx, services)
	if err := p.reloader.Now(ctx); err != nil {
		if outcome != nil {
			p.log.Error("%v", outcome)
		}
		return err
	}
	return outcome
}

// follow is sm-fetch follow.
func (s settings) follow(ctx context.Context, w command.World, system system) error {
	p, err := s.assemble(w, system, stopRetry)
	if err != nil {
		return err
	}
	revisions := p.follower.Applier.Revisions
	if err := os.MkdirAll(revisions.Root, 0o700); err != nil {
		return fmt.Errorf("make the folder of the revisions: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.clean(ctx)
	defer time.AfterFunc(cleanAgain, func() { p.clean(ctx) }).Stop()
	p.resume(ctx)
	reloaded := make(chan error, 1)
	go func() {
		reloaded <- p.reloader.Run(ctx)
		cancel() // one without the other is useless
	}()
	p.follower.Run(ctx)
	w.Notify.Stopping()
	cancel()
	err = <-reloaded
	// Removals that this cuts short are marked on disk.
	return errors.Join(err, p.follower.Applier.Wait())
}
