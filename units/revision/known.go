package revision

import (
	"hash/maphash"
	"sync"

	"service-manager/units/definition"
	"service-manager/units/name"
)

// Known remembers the definitions of valid revisions, for a program that reads the
// revisions of a host again and again: each is parsed once, and again only when its file
// has changed. The zero value knows none. Definitions that it returns must not be changed.
type Known struct {
	mu          sync.Mutex
	definitions map[name.Revision]known
	size        int // bytes of the documents
}

type known struct {
	definition *definition.Definition
	size       int
	sum        uint64 // of the document
}

// seed makes the sums of this process its own: no document can be made to have that of
// another one.
var seed = maphash.MakeSeed()

// mostKnown bounds the bytes of the documents whose definitions are remembered. A host
// with more of them parses some again.
const mostKnown = 4 << 20

// Remember keeps the definition that a document holds. d must be what Parse returns for it.
func (k *Known) Remember(d *definition.Definition, document []byte) {
	if k == nil {
		return
	}
	k.remember(known{d, len(document), maphash.Bytes(seed, document)})
}

func (k *Known) remember(n known) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(n.definition.Revision)
	if k.size+n.size > mostKnown || k.definitions == nil {
		k.definitions, k.size = make(map[name.Revision]known), 0
	}
	k.definitions[n.definition.Revision] = n
	k.size += n.size
}

// parse is definition.Parse for a document that may be known.
func (k *Known) parse(r name.Revision, document []byte) (*definition.Definition, error) {
	if k == nil {
		return definition.Parse(string(r.Service), string(r.Rev), document)
	}
	sum := maphash.Bytes(seed, document)
	k.mu.Lock()
	n, ok := k.definitions[r]
	k.mu.Unlock()
	if ok && n.sum == sum {
		return n.definition, nil
	}
	d, err := definition.Parse(string(r.Service), string(r.Rev), document)
	if err == nil {
		k.remember(known{d, len(document), sum})
	}
	return d, err
}

// drop drops a revision. k.mu is held.
func (k *Known) drop(r name.Revision) {
	k.size -= k.definitions[r].size
	delete(k.definitions, r)
}

func (k *Known) forget(r name.Revision) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(r)
}

func (k *Known) forgetService(service name.Service) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for r := range k.definitions {
		if r.Service == service {
			k.drop(r)
		}
	}
}
