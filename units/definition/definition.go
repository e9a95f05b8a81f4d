// Package definition says what a service definition may contain. A definition
// is one JSON object, a CouchDB document or a file, that says how the containers
// of a service run and where clients reach them. Parse checks everything, so
// that the holder of a Definition need not: no value in it can break out of a
// unit file, a command line or a folder.
package definition

import (
	"reflect"
	"time"

	"service-manager/units/name"
)

// Definition is one valid revision of a service, with every default filled in.
type Definition struct {
	name.Revision        // the document's _id and _rev
	Description   string // empty when not given
	Image         string
	Endpoints     []Endpoint // none for a worker
	AssignAddress bool       // whether the host is given the addresses that it does not have
	HealthCheck   HealthCheck
	Environment   []Variable // sorted by name
	Flags         []Flag     // what else docker run would be given, in the order of the fields
	Entrypoint    []string   // empty: the image's
	Command       []string   // empty: the image's, unless there is an Entrypoint
	PreStart      PreStart
	Replicas      int // how many containers run at once, from 1 to name.MaxReplicas
	Rollout       Rollout
	Drain         Drain
	// StopTimeout is how long the container may take to end after SIGTERM.
	StopTimeout time.Duration
	// StartTimeout bounds each step of a start that reports no progress.
	StartTimeout time.Duration
}

// Worker reports whether no client connects to the service.
func (d *Definition) Worker() bool { return len(d.Endpoints) == 0 }

// Addresses are the addresses of the endpoints.
func (d *Definition) Addresses() []Address {
	var addresses []Address
	for _, e := range d.Endpoints {
		addresses = append(addresses, e.Address)
	}
	return addresses
}

// PreStart is what runs once, before the first container that serves.
type PreStart struct {
	Command []string // empty: nothing
	Timeout time.Duration
}

// Rollout says how one revision replaces another.
type Rollout struct {
	Order    string        // StartFirst or StopFirst
	Parallel int           // how many replicas start at once
	Hold     time.Duration // how long clients wait at most while there is no container
}

// What a rollout does first.
const (
	StartFirst = "start-first" // start the new container
	StopFirst  = "stop-first"  // stop the old one
)

// StopsFirst reports whether no other revision may run beside this one.
func (d *Definition) StopsFirst() bool { return d.Rollout.Order == StopFirst }

// RunsAs reports whether the containers of this definition are those of another one:
// whether the two differ only in how many there are, or in how many start at once.
func (d *Definition) RunsAs(other *Definition) bool {
	same := *d
	same.Revision, same.Replicas, same.Rollout.Parallel = other.Revision, other.Replicas, other.Rollout.Parallel
	return reflect.DeepEqual(&same, other)
}

// Holds reports whether clients wait while this revision replaces another.
func (d *Definition) Holds() bool { return d.StopsFirst() && d.Rollout.Hold > 0 && !d.Worker() }

// Drain says what to wait for once no new connections come.
type Drain struct {
	Timeout time.Duration // how long it may take
	Until   string        // Closed or Answered
}

// What a drain waits for.
const (
	Closed   = "closed"   // the end of every connection
	Answered = "answered" // of those on which an answer is due or something was just sent
)

// HealthCheck says how a container proves that it can serve.
type HealthCheck struct {
	Type     string // HTTP, TCP or None
	Port     uint16 // where the container is asked; 0 for None
	Path     string // of HTTP requests
	Timeout  time.Duration
	Interval time.Duration
	// For as long as it runs:
	Failures     int           // in a row, that make it unhealthy; 0: it is not asked any more
	RestartAfter time.Duration // unhealthy for so long, it is restarted; 0: never
}

// The types of health checks.
const (
	HTTP = "http"
	TCP  = "tcp"
	None = "none" // it has to stay up
)

// Flag is a flag of docker run, and of sm-docker-run run, and the field that it comes
// from.
type Flag struct{ Field, Name, Value string }

// Variable is an environment variable of the container.
type Variable struct{ Name, Value string }

// The bounds of what is accepted. Linux passes no argument of 128 KiB or more
// to a program, and systemd reads no line longer than 1 MiB, which the largest
// definition stays far below however much of it has to be escaped. A host within
// them is generated in less than a second.
const (
	MaxSize     = 128 << 10 // bytes of a whole definition
	MaxServices = 2000      // services of a host, and replicas of all of them
	MaxTotal    = 16 << 20  // bytes of the current definitions of a host, times their replicas; the good ones may be as many
	// MaxRevisions is how many revisions of one service units are made of.
	MaxRevisions = 100
	maxMembers   = 1024     // members of one list or object
	maxString    = 100_000  // bytes of one value
	maxWords     = 64 << 10 // bytes of all words that stand in a unit
	maxVariable  = 256      // bytes of the name of a variable
	maxDuration  = 24 * time.Hour
)
