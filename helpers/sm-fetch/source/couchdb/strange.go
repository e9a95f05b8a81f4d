package couchdb

import "fmt"

// maxStrange is how many documents that cannot be services are reported one by one.
const maxStrange = 20

// strange reports documents that cannot be services, each once.
type strange struct {
	report func(problem string)
	told   map[string]bool
}

// tell reports a document whose name no service can have, for that reason.
func (s *strange) tell(database, id string, why error) {
	if s.told[id] || len(s.told) > maxStrange {
		return
	}
	s.told[id] = true
	if len(s.told) > maxStrange {
		s.report(fmt.Sprintf("%s has more than %d documents with names that no service can have; the others are not reported", database, maxStrange))
		return
	}
	s.report(fmt.Sprintf("the document %q in %s is ignored: the name of a service %v", id, database, why))
}
