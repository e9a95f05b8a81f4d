package docker

import (
	"context"
	"fmt"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
)

// ParseImage checks an image's name and returns it as Docker shows it, with the default
// tag if it has none: "nginx" is "nginx:latest". An id stays as it is, and named is nil
// then: it cannot be pulled.
func ParseImage(name string) (shown string, named reference.Named, err error) {
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return "", nil, fmt.Errorf("image %q: %w", name, err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return name, nil, nil
	}
	named = reference.TagNameOnly(named)
	return reference.FamiliarString(named), named, nil
}

// HasImage reports whether the image is here.
func (d *Daemon) HasImage(ctx context.Context, name string) (bool, error) {
	err := d.Retry(ctx, func() error {
		return d.Within(ctx, d.patience, func(ctx context.Context) error {
			_, err := d.ImageInspect(ctx, name)
			return err
		})
	})
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for image %s: %w", name, err)
	}
	return true, nil
}

// Pull fetches an image from its registry. auth holds credentials for the registry as
// Credentials returns them. moved is called whenever the pull has made progress. If the
// daemon restarts meanwhile, Pull waits for it and asks again: it keeps the layers that
// are complete.
func (d *Daemon) Pull(ctx context.Context, named reference.Named, auth string, moved func(Progress)) error {
	shown := reference.FamiliarString(named)
	err := d.Retry(ctx, func() error {
		stream, err := d.ImagePull(ctx, named.String(), image.PullOptions{RegistryAuth: auth})
		if err != nil {
			return err
		}
		defer stream.Close()
		return readProgress(stream, moved)
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("pull image %s: %w", shown, context.Cause(ctx))
	}
	return fmt.Errorf("pull image %s: %w", shown, &briefError{explain(err, reference.Domain(named)), err})
}

// explain adds to the daemon's reason what to do about it, where that is plain. The
// daemon distinguishes these cases only in prose: once a pull has begun there is no
// status code.
func explain(err error, registry string) string {
	reason := Reason(err)
	low := strings.ToLower(reason)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	login := "docker login"
	if registry != "docker.io" {
		login += " " + registry
	}
	switch {
	case has("manifest unknown", "name unknown", "not found: manifest") ||
		cerrdefs.IsNotFound(err) && !has("denied", "unauthorized"):
		return fmt.Sprintf("not found in the registry; check the name and tag (%s)", reason)
	case has("access denied", "access to the resource is denied"):
		return fmt.Sprintf("there is no such repository, or it needs a login; check the name, or run %q as root (%s)", login, reason)
	case has("unauthorized", "no basic auth credentials", "authentication required"):
		return fmt.Sprintf("the registry wants a login; run %q as root (%s)", login, reason)
	case has("no such host", "server misbehaving", "temporary failure in name resolution"):
		return fmt.Sprintf("the registry's name cannot be resolved; check the name and this host's DNS (%s)", reason)
	case has("no space left on device"):
		return fmt.Sprintf("no space left; run \"docker image prune\" (%s)", reason)
	}
	return reason
}
