// Package name has the names of what runs on a host: services, their revisions, and
// the units and containers that are called after them.
//
// A name is checked once, by the function that parses it where it comes in. What
// has one of these types is safe in a path, a unit's name and a command line.
package name

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Service is the name of a service, such as "web". The empty one is none.
type Service string

// ParseService returns the service with that name. The error says what a name must
// be, after "the name of a service" or the path of a field.
func ParseService(s string) (Service, error) {
	switch {
	case s == "manager":
		return "", errors.New(`must not be "manager", which is the word for the unit of a service as a whole`)
	case len(s) > 63:
		return "", fmt.Errorf("must have at most 63 characters%s", got(s))
	case s == "" || s[0] == '-' || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return "", fmt.Errorf(`must be made of a-z, 0-9 and "-", and not begin with "-"%s`, got(s))
	}
	return Service(s), nil
}

// Rev tells the revisions of a service apart. It is the _rev of a CouchDB document,
// or has its form: a generation, which counts edits, and a digest, such as
// "2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d". The empty one is none.
type Rev string

// maxGeneration is how many digits a generation may have, which is more than edits
// can reach, and still a number that programs count with.
const maxGeneration = 18

// ParseRev returns the revision with that name. The error says what one must be.
func ParseRev(s string) (Rev, error) {
	generation, digest, _ := strings.Cut(s, "-")
	if generation == "" || generation[0] == '0' || len(generation) > maxGeneration || strings.Trim(generation, "0123456789") != "" ||
		len(digest) != 32 || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", fmt.Errorf("must be a generation of at most %d digits, a dash and 32 hexadecimal digits%s", maxGeneration, got(s))
	}
	return Rev(s), nil
}

// Generation returns the number that it begins with, 0 for the empty one.
func (r Rev) Generation() int {
	number, _, _ := strings.Cut(string(r), "-")
	n, _ := strconv.Atoi(number)
	return n
}

// Compare orders by generation, and those of one generation by digest.
func (r Rev) Compare(other Rev) int {
	return cmp.Or(cmp.Compare(r.Generation(), other.Generation()), cmp.Compare(r, other))
}

// Revision is one version of the definition of a service.
type Revision struct {
	Service Service
	Rev     Rev
}

// Revision returns the revision of the service with that name.
func (s Service) Revision(r Rev) Revision { return Revision{s, r} }

// ParseRevision returns the revision that a service's name and a revision's own name
// stand for. The error begins with what is wrong, SERVICE or REVISION.
func ParseRevision(service, rev string) (r Revision, err error) {
	if r.Service, err = ParseService(service); err != nil {
		return Revision{}, fmt.Errorf("SERVICE: %w", err)
	}
	if r.Rev, err = ParseRev(rev); err != nil {
		return Revision{}, fmt.Errorf("REVISION: %w", err)
	}
	return r, nil
}

// Runner is what runs one replica of a revision: a unit and a container. The runners of one
// revision are told apart by their numbers.
type Runner struct {
	Revision
	Number int // from 1 to MaxRunners
}

// MaxReplicas is how many replicas a revision has at most.
const MaxReplicas = 16

// MaxRunners is how many runners a revision has at most: one for each replica, and one that
// replaces another.
const MaxRunners = MaxReplicas + 1

// First returns the first runner of a revision.
func (r Revision) First() Runner { return Runner{r, 1} }

// Runner returns the runner of a revision with that number.
func (r Revision) Runner(number int) Runner { return Runner{r, number} }

// Runners returns the first n runners of a revision.
func (r Revision) Runners(n int) []Runner {
	runners := make([]Runner, n)
	for i := range runners {
		runners[i] = r.Runner(i + 1)
	}
	return runners
}

// Compare orders runners by their revisions, and those of one revision by their numbers.
func (r Runner) Compare(other Runner) int {
	return cmp.Or(r.Rev.Compare(other.Rev), cmp.Compare(r.Number, other.Number))
}

// Mark returns the name of the revision, with the number behind it unless it is the first
// runner: "2-9ab…", "2-9ab…:2".
func (r Runner) Mark() string {
	if r.Number == 1 {
		return string(r.Rev)
	}
	return fmt.Sprintf("%s:%d", r.Rev, r.Number)
}

// ParseRunner returns the runner of a service whose Mark is given. The error begins with
// what is wrong, SERVICE or REVISION.
func ParseRunner(service, mark string) (Runner, error) {
	rev, number, numbered := strings.Cut(mark, ":")
	revision, err := ParseRevision(service, rev)
	r := revision.First()
	if err == nil && numbered {
		r.Number, err = strconv.Atoi(number)
		if err != nil || r.Number < 2 || r.Number > MaxRunners || number != strconv.Itoa(r.Number) {
			return Runner{}, fmt.Errorf("REVISION: must be followed by nothing, or by a number from :2 to :%d%s", MaxRunners, got(mark))
		}
	}
	return r, err
}

// String names the runner in messages, like its revision.
func (r Runner) String() string { return string(r.Service) + " " + r.Mark() }

// String names the revision in messages: "web 2-9ab…".
func (r Revision) String() string { return string(r.Service) + " " + string(r.Rev) }

// Join returns names with a separator between them.
func Join[Name ~string](names []Name, separator string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(string(n))
	}
	return b.String()
}

// got is the part of a message that shows what was given.
func got(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf(" (got %q)", s)
}
