package definition

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"service-manager/units/name"
)

// Parse returns the definition that a document holds. service and revision are what the
// store calls it; members _id and _rev may be absent but must not differ. The error is an
// *Invalid with everything that is wrong; it wraps nothing else. No error contains a
// value of a field that may hold secrets.
//
// A definition needs an address. A document in a store need not have one: see
// WithAddress.
func Parse(service, revision string, document []byte) (*Definition, error) {
	p := absent()
	p.service, p.revision = service, revision
	p.document(document)
	if len(p.problems) > 0 {
		return nil, &Invalid{Service: service, Revision: revision, Problems: p.problems, More: p.more}
	}
	return &p.d, nil
}

// Environment returns the environment variables of a document, sorted by name, and looks
// at nothing else in it. No error contains a value.
func Environment(document []byte) ([]Variable, error) {
	given, err := members(document)
	if err != nil {
		return nil, err
	}
	var p parser
	for _, m := range given {
		if m.name == "environment" {
			p.environment(m.name, m.value)
		}
	}
	if len(p.problems) > 0 {
		return nil, errors.New(p.problems[0].String())
	}
	return p.d.Environment, nil
}

// parser fills a definition and gathers what is wrong on the way.
type parser struct {
	service, revision string // what the store calls the definition

	d        Definition
	short    Endpoint // what address and port say
	endpoint Endpoint // the one that is being read
	problems []Problem
	more     int // problems beyond those
}

func (p *parser) problem(path, format string, args ...any) {
	if len(p.problems) == maxProblems {
		p.more++
		return
	}
	p.problems = append(p.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (p *parser) document(document []byte) {
	if len(document) > MaxSize {
		p.problem("", "the definition must have at most %d KiB", MaxSize>>10)
		return
	}
	given, err := members(document)
	if err != nil {
		p.problem("", "the definition %v", err)
		return
	}
	if p.d.Service, err = name.ParseService(p.service); err != nil {
		p.problem("_id", "%v", err)
	}
	if p.d.Rev, err = name.ParseRev(p.revision); err != nil {
		p.problem("_rev", "%v", err)
	}
	if !has(given, "image") {
		// Whatever else it is, it is no definition; its other members say nothing.
		p.problem("image", "is missing%s", misspelt(given, "image"))
		return
	}
	p.object("", "", given)
	slices.SortStableFunc(p.d.Flags, func(a, b Flag) int { return cmp.Compare(position(a.Field), position(b.Field)) })
	p.wordsFit()
	for _, f := range fields {
		if f.instead != "" && has(given, f.name) && has(given, f.instead) {
			p.problem(f.name, "cannot be combined with %s", f.instead)
		}
	}
	port, address := has(given, "port"), has(given, "address")
	switch {
	case has(given, "endpoints") && (port || address):
		p.problem("endpoints", "cannot be combined with address and port")
	case !port && address:
		p.problem("port", "is missing%s", misspelt(given, "port"))
	case port && !address:
		p.problem("address", "is missing; give the service one here, like \"172.17.0.1:7001\", in "+Addresses+", or set ADDRESSES= in "+Settings+"%s", misspelt(given, "address"))
	case port:
		p.short.Address.Protocol, p.short.Scheduler, p.short.Field = TCP, p.endpoint.Scheduler, "address"
		p.d.Endpoints = []Endpoint{p.short}
	}
	if p.d.Replicas > 1 && p.d.StopsFirst() {
		p.problem("replicas", `must be 1 with the order "stop-first", which is for what cannot run twice (got %d)`, p.d.Replicas)
	}
	if len(p.problems) == 0 {
		p.completeHealthCheck(has(given, "health_check"))
	}
}

// complete reports the required members that an object lacks.
func (p *parser) complete(prefix string, given []member, must []string) {
	for _, name := range must {
		if !has(given, name) {
			p.problem(prefix+name, "is missing")
		}
	}
}

// completeHealthCheck fills in what depends on other fields.
func (p *parser) completeHealthCheck(given bool) {
	h := &p.d.HealthCheck
	asked, ok := p.d.FirstTCP()
	if !given && !ok {
		h.Type = None
	}
	if h.Type == None {
		if h.Port != 0 {
			p.problem("health_check.port", `is not for the type "none"`)
		}
		if h.RestartAfter != 0 {
			p.problem("health_check.restart_after", `is not for the type "none"; what has ended is restarted at once`)
		}
		h.Failures = 0
		return
	}
	if h.Type == HTTP && h.Path == "" {
		h.Path = "/"
	}
	if h.Failures == 0 && h.RestartAfter != 0 {
		p.problem("health_check.restart_after", "needs failures above 0")
	}
	switch {
	case h.Port != 0:
	case !ok:
		p.problem("health_check.port", "is missing; it must be given where the service has no endpoint for TCP")
	default:
		h.Port = asked.Port
	}
}

// object parses the members of the definition, or of an object in it, with the fields
// that parent has. Their paths begin with prefix.
func (p *parser) object(parent, prefix string, given []member) {
	known := byName()[parent]
	for _, m := range given {
		f, path := known[m.name], prefix+m.name
		switch {
		case f != nil && f.parse != nil:
			f.parse(p, path, m.value)
		case f != nil:
			p.flags(f, path, m.value)
		case parent == "" && m.name == "_id":
			p.same(path, m.value, p.service)
		case parent == "" && m.name == "_rev":
			p.same(path, m.value, p.revision)
		case parent == "" && strings.HasPrefix(m.name, "_"):
			// CouchDB's own, like _attachments and _conflicts.
		default:
			p.unknown(m.name, parent, prefix)
		}
	}
}

// flags passes the value of a field to docker run.
func (p *parser) flags(f *field, path string, value json.RawMessage) {
	values := []string{""}
	if f.many {
		values = p.list(path, value, f.check)
	} else {
		values[0] = p.text(path, value, f.check)
	}
	for _, v := range values {
		p.d.Flags = append(p.d.Flags, Flag{f.name, f.flag, v})
	}
}

// same checks a member that the store decides.
func (p *parser) same(path string, value json.RawMessage, want string) {
	if have := p.text(path, value, nil); have != "" && have != want {
		p.problem(path, "must be %q, as the store calls it%s", want, got(have))
	}
}

func (p *parser) healthCheck(path string, value json.RawMessage) {
	h := &p.d.HealthCheck
	if isString(value) {
		h.Type = p.text(path, value, checkHealthCheckType)
	} else {
		given, ok := p.members(path, value, `must be "http", "tcp", "none" or an object`)
		if !ok {
			return
		}
		p.object(path, path+".", given)
	}
	if h.Type != HTTP && h.Type != "" && h.Path != "" {
		p.problem(path+".path", `is for the type "http" only`)
	}
}

func (p *parser) preStart(path string, value json.RawMessage) {
	given, ok := p.members(path, value, `must be an object like {"command": ["migrate", "--up"]}`)
	if !ok {
		return
	}
	before := len(p.problems) + p.more
	p.object(path, path+".", given)
	p.complete(path+".", given, required(path))
	if len(p.d.PreStart.Command) == 0 && len(p.problems)+p.more == before {
		p.problem(path+".command", "must not be empty")
	}
}

func (p *parser) rollout(path string, value json.RawMessage) {
	if given, ok := p.members(path, value, `must be an object like {"order": "stop-first"}`); ok {
		p.object(path, path+".", given)
	}
}

func (p *parser) drain(path string, value json.RawMessage) {
	if given, ok := p.members(path, value, `must be an object like {"timeout": "30s", "until": "answered"}`); ok {
		p.object(path, path+".", given)
	}
}

func (p *parser) entrypoint(path string, value json.RawMessage) {
	p.d.Entrypoint = p.words(path, value)
	if len(p.d.Entrypoint) > 0 && p.d.Entrypoint[0] == "" {
		p.problem(path+"[0]", "must not be empty")
	}
}
