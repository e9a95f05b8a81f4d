package apply

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// validate returns the definition in a change, with the document as it is to be stored;
// nil when nothing has changed. When the error is a *definition.Invalid, rev only
// identifies the document.
func (a *Applier) validate(c source.Change) (d *definition.Definition, rev string, document []byte, err error) {
	if c.Rev != "" {
		d, err := definition.Parse(string(c.Service), c.Rev, c.Document)
		return d, c.Rev, c.Document, err
	}
	draft, err := parseDraft(c.Document)
	if err != nil {
		// Parse says why, better.
		if _, err := definition.Parse(string(c.Service), "", c.Document); err != nil {
			return nil, identify(c.Document), nil, err
		}
		return nil, "", nil, fmt.Errorf("%s: %w", c.Service, err)
	}
	r, unchanged, err := a.name(c.Service, draft)
	if err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", c.Service, err)
	}
	// The document is parsed as it was written: the draft, and with it the digest, no
	// longer shows what is wrong with it as text, such as a field that occurs twice.
	d, err = definition.Parse(string(c.Service), string(draft.declared(r.Rev)), c.Document)
	switch {
	case err != nil && unchanged:
		// This text is wrong, not the revision that it stands for.
		return nil, identify(c.Document), nil, called(err, "")
	case err != nil:
		return nil, string(r.Rev), nil, called(err, string(r.Rev))
	case unchanged:
		a.valid(c.Service)
		return nil, "", nil, nil
	}
	if document, err = draft.named(r); err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", c.Service, err)
	}
	if len(document) > definition.MaxSize {
		// Parse says so; nothing else can be wrong about it.
		d, err = definition.Parse(string(r.Service), string(r.Rev), document)
		return d, string(r.Rev), document, err
	}
	d.Revision = r
	return d, string(r.Rev), document, nil
}

// identify distinguishes documents that have no revision yet.
func identify(document []byte) string { return fmt.Sprintf("%x", sha256.Sum256(document)) }

// called returns an error about a document that includes its revision.
func called(err error, rev string) error {
	var invalid *definition.Invalid
	if errors.As(err, &invalid) {
		invalid.Revision = rev
	}
	return err
}

// name returns the revision that a draft is, and whether that is the newest one already.
func (a *Applier) name(service name.Service, draft draft) (r name.Revision, unchanged bool, err error) {
	sum, err := draft.digest()
	if err != nil {
		return r, false, err
	}
	current := a.offered(service)
	if current != "" {
		r = service.Revision(current)
		document, err := os.ReadFile(a.Revisions.Path(r))
		means := meaning(document) == sum
		called := strings.HasSuffix(string(current), "-"+sum)
		if means || called {
			_, invalid := a.Revisions.Parse(r, document)
			sound := err == nil && invalid == nil
			switch {
			case sound && means:
				return r, true, nil
			case !sound && called:
				return r, false, nil // its file is damaged, and is written again
			}
		}
	}
	revs, _ := a.Revisions.Revisions(service) // what else is there is no revision
	newest := current.Generation()
	if len(revs) > 0 {
		newest = max(newest, revs[len(revs)-1].Generation())
	}
	r.Service = service
	r.Rev, err = name.ParseRev(fmt.Sprintf("%d-%s", newest+1, sum))
	return r, false, err
}

// meaning returns the digest of a document, empty for what is no JSON object.
func meaning(document []byte) string {
	draft, err := parseDraft(document)
	if err != nil {
		return ""
	}
	sum, _ := draft.digest()
	return sum
}

// valid forgets that the newest revision of a service was invalid.
func (a *Applier) valid(service name.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.invalid, service)
	a.accepted(service)
}
