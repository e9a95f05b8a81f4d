package apply

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// validate returns the definition that a change brings, with the document as it is
// to be stored. None means that nothing has changed. When the error is a
// *definition.Invalid, rev only identifies the document.
func (a *Applier) validate(c source.Change) (d *definition.Definition, rev string, document []byte, err error) {
	if c.Rev != "" {
		d, err := definition.Parse(string(c.Service), c.Rev, c.Document)
		return d, c.Rev, c.Document, err
	}
	sum, err := digest(c.Document)
	if err != nil {
		// Not a JSON object: Parse says why, better.
		if _, err := definition.Parse(string(c.Service), "", c.Document); err != nil {
			return nil, identify(c.Document), nil, err
		}
		return nil, "", nil, fmt.Errorf("%s: %w", c.Service, err)
	}
	rev, unchanged := a.name(c.Service, sum)
	// The document is parsed as it was written first: the second form, and with it
	// the digest, has lost what is wrong about it as text, such as a field that is
	// there twice.
	if _, err := definition.Parse(string(c.Service), declared(c.Document, rev), c.Document); err != nil {
		if unchanged {
			// This text is wrong, and not the revision that it means.
			return nil, identify(c.Document), nil, called(err, "")
		}
		return nil, rev, nil, called(err, rev)
	}
	if unchanged {
		a.valid(c.Service)
		return nil, "", nil, nil
	}
	if document, err = named(c.Document, string(c.Service), rev); err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", c.Service, err)
	}
	d, err = definition.Parse(string(c.Service), rev, document)
	return d, rev, document, err
}

// identify tells one document from another as long as it has no revision.
func identify(document []byte) string { return fmt.Sprintf("%x", sha256.Sum256(document)) }

// called returns an error about a document with its revision in it.
func called(err error, rev string) error {
	var invalid *definition.Invalid
	if errors.As(err, &invalid) {
		invalid.Revision = rev
	}
	return err
}

// declared returns the revision that a document from a file claims to be, which
// is no mistake in a copy of a stored revision, or else rev.
func declared(document []byte, rev string) string {
	var head struct {
		Rev string `json:"_rev"`
	}
	if json.Unmarshal(document, &head) != nil {
		return rev
	}
	if _, err := name.ParseRev(head.Rev); err != nil {
		return rev
	}
	return head.Rev
}

// name returns the name of the revision that a document with that digest is, for
// a store that names none, and whether that is the current one.
func (a *Applier) name(service name.Service, sum string) (rev string, unchanged bool) {
	current, _ := a.Revisions.Current(service) // a damaged link is replaced
	if current != "" {
		have, err := os.ReadFile(a.Revisions.Path(service.Revision(current)))
		_, invalid := definition.Parse(string(service), string(current), have)
		switch {
		case err == nil && invalid == nil:
			if d, err := digest(have); err == nil && d == sum {
				return string(current), true
			}
		case strings.HasSuffix(string(current), "-"+sum):
			return string(current), false // its file is damaged, and is written again
		}
	}
	revs, _ := a.Revisions.Revisions(service) // what else is there is no revision
	newest := current.Generation()
	if len(revs) > 0 {
		newest = max(newest, revs[len(revs)-1].Generation())
	}
	return fmt.Sprintf("%d-%s", newest+1, sum), false
}

// valid forgets that the newest revision of a service was invalid.
func (a *Applier) valid(service name.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.invalid, service)
	a.accepted(service)
}
