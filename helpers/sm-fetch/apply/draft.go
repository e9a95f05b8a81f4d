package apply

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"service-manager/units/name"
)

// draft is a decoded document to which its store has given no revision.
type draft map[string]any

// parseDraft decodes a document. The error says that it is no JSON object.
func parseDraft(document []byte) (draft, error) {
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber() // a large number must not change on its way through
	var d draft
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("the definition is not a JSON object: %w", err)
	}
	if d == nil {
		return nil, errors.New("the definition is not a JSON object")
	}
	return d, nil
}

// digest returns the 32 hexadecimal digits of the second half of the revision's name: the
// MD5 of the document in a form that depends only on its meaning, with sorted members,
// without spaces, _id and _rev.
func (d draft) digest() (string, error) {
	d = maps.Clone(d)
	delete(d, "_id")
	delete(d, "_rev")
	text, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:]), nil
}

// declared returns the revision that the document claims to be, which is no mistake
// in a copy of a stored revision, or else rev.
func (d draft) declared(rev name.Rev) name.Rev {
	claim, _ := d["_rev"].(string)
	if claimed, err := name.ParseRev(claim); err == nil {
		return claimed
	}
	return rev
}

// named returns the document of a revision, with its _id and _rev, indented for
// readers.
func (d draft) named(r name.Revision) ([]byte, error) {
	d = maps.Clone(d)
	d["_id"], d["_rev"] = r.Service, r.Rev
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}
