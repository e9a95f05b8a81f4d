package apply

import (
	"service-manager/units/definition"
	"service-manager/units/name"
	"service-manager/units/revision"
)

// offered returns the newest revision of a service that this host has accepted from the
// store: the current one, or one that runs as that does, with another number of replicas.
// A damaged link, or number, is replaced.
func (a *Applier) offered(service name.Service) name.Rev {
	current, err := a.Revisions.Current(service)
	if err != nil || current == "" {
		return current
	}
	if scale, err := a.Revisions.Scale(service.Revision(current)); err == nil && scale.By != "" {
		return scale.By
	}
	return current
}

// scale makes the good revision run with the number of replicas of a new one, if that
// differs from it in nothing else. It returns the good revision then, and otherwise the
// empty string. No container is replaced.
func (a *Applier) scale(d *definition.Definition) (as name.Rev, err error) {
	current, err := a.Revisions.Current(d.Service)
	if err != nil || current == "" {
		return "", nil // a damaged link is replaced
	}
	if good, err := a.Revisions.Good(d.Service); err != nil || good != current {
		return "", nil
	}
	runs := d.Service.Revision(current)
	if current == d.Rev {
		// The store has gone back to it.
		if scale, err := a.Revisions.Scale(runs); err == nil && scale.By == "" {
			return "", nil
		}
	} else if running, err := a.Revisions.Read(runs); err != nil || !d.RunsAs(running) {
		return "", nil
	}
	return current, a.Revisions.SetScale(runs, revision.Scale{Replicas: d.Replicas, By: d.Rev})
}
