package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"

	"github.com/docker/docker/api/types/container"

	"service-manager/helpers/internal/docker"
)

// takeOver continues with a container that "docker restart" has started again, if it can
// be reached where the unit's other commands were told. Otherwise the unit has to start
// again as a whole.
func (r *runner) takeOver(ctx context.Context, c container.InspectResponse) error {
	whole := context.WithoutCancel(ctx)
	ip4, ip6 := docker.Addresses(c)
	if err := (record{r.o.name, c.ID, ip4, ip6}).matches(r.o.record); err != nil {
		err = fmt.Errorf("docker has restarted the container, and %w", err)
		return about(r.o.name, errors.Join(err, r.d.Remove(whole, c.ID)))
	}
	fmt.Fprintf(r.w.Stderr, "%s: docker has restarted the container; it is taken over\n", r.o.name)
	r.w.Notify.Status("running%s", list(ip4, ip6))
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, stopSignals...)
	defer signal.Stop(caught)
	p, err := r.d.Process(c)
	if err == nil {
		defer p.Close()
		if err := r.noteProcess(c, p); err != nil {
			return about(r.o.name, errors.Join(err, r.d.Remove(whole, c.ID)))
		}
	}
	return r.wait(ctx, c.ID, p, caught)
}

// errElsewhere says that a container cannot be reached where its run record says.
var errElsewhere = errors.New("its address has changed")

// matches returns errElsewhere when the run record at path, if any, says something else.
func (r record) matches(path string) error {
	if path == "" {
		return nil
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	is, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the run record: %w", err)
	}
	if string(is) != text {
		return errElsewhere
	}
	return nil
}
