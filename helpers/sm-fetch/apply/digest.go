package apply

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// canonical returns the definition of a document that has no revision yet in a
// form that only its meaning decides: sorted members, no spaces, without _id and
// _rev. The error says that the document is no JSON object.
func canonical(document []byte) ([]byte, error) {
	object, err := decode(document)
	if err != nil {
		return nil, err
	}
	delete(object, "_id")
	delete(object, "_rev")
	return json.Marshal(object)
}

// digest returns the 32 hexadecimal digits of the second half of the name of a
// revision that CouchDB has not named: the MD5 of the canonical document.
func digest(document []byte) (string, error) {
	text, err := canonical(document)
	if err != nil {
		return "", err
	}
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:]), nil
}

// named returns the document with its _id and _rev filled in, indented for
// readers.
func named(document []byte, service, revision string) ([]byte, error) {
	object, err := decode(document)
	if err != nil {
		return nil, err
	}
	object["_id"], object["_rev"] = service, revision
	text, err := json.MarshalIndent(object, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

func decode(document []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber() // a large number must not change on its way through
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, fmt.Errorf("the definition is not a JSON object: %w", err)
	}
	if object == nil {
		return nil, fmt.Errorf("the definition is not a JSON object")
	}
	return object, nil
}
