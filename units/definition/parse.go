package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Parse returns the definition that a document holds. service and revision are
// what the store calls it; members _id and _rev may be absent but must not
// differ. The error is an *Invalid with everything that is wrong; it wraps
// nothing else, except that Is(err, ErrIncomplete) tells a document that ends
// too early. No error has a value in it of a field that may hold secrets.
//
// A definition needs an address. A document in a store need not have one: see
// WithAddress.
func Parse(service, revision string, document []byte) (*Definition, error) {
	p := parser{d: Definition{
		Service:      service,
		Revision:     revision,
		HealthCheck:  HealthCheck{Type: HTTP, Timeout: DefaultHealthCheckTimeout, Interval: DefaultHealthCheckInterval},
		DrainTimeout: DefaultDrainTimeout,
		StopTimeout:  DefaultStopTimeout,
		StartTimeout: DefaultStartTimeout,
	}}
	p.document(document)
	if len(p.problems) > 0 {
		return nil, &Invalid{Service: service, Revision: revision, Problems: p.problems, More: p.more, incomplete: p.incomplete}
	}
	return &p.d, nil
}

// Environment returns the environment variables of a document, sorted by name, and
// looks at nothing else in it. No error has a value in it.
func Environment(document []byte) ([]Variable, error) {
	fields, err := members(document)
	if err != nil {
		return nil, err
	}
	var p parser
	for _, f := range fields {
		if f.name == "environment" {
			p.environment(f.name, f.value)
		}
	}
	if len(p.problems) > 0 {
		return nil, errors.New(p.problems[0].String())
	}
	return p.d.Environment, nil
}

// parser fills a definition and gathers what is wrong on the way.
type parser struct {
	d          Definition
	problems   []Problem
	more       int // problems beyond those
	incomplete bool
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
	fields, err := members(document)
	if err != nil {
		p.incomplete = errors.Is(err, ErrIncomplete)
		p.problem("", "the definition %v", err)
		return
	}
	if err := CheckService(p.d.Service); err != nil {
		p.problem("_id", "%v", err)
	}
	if err := CheckRevision(p.d.Revision); err != nil {
		p.problem("_rev", "%v", err)
	}
	given := make(map[string]bool)
	for _, f := range fields {
		given[f.name] = true
	}
	if !given["image"] {
		// Whatever else it is, it is no definition; its other members say nothing.
		p.problem("image", "is missing%s", misspelt(fields, "image"))
		return
	}
	for _, f := range fields {
		p.field(f.name, f.value)
	}
	p.wordsFit()
	if h := &p.d.HealthCheck; h.Type == HTTP && h.Path == "" {
		h.Path = DefaultHealthCheckPath
	}
	if !given["port"] {
		p.problem("port", "is missing%s", misspelt(fields, "port"))
	}
	if !given["address"] {
		p.problem("address", "is missing; give the service one here, like \"172.17.0.1:7001\", or in "+Addresses+"%s", misspelt(fields, "address"))
	}
}

func (p *parser) field(name string, value json.RawMessage) {
	switch name {
	case "_id":
		p.same(name, value, p.d.Service)
	case "_rev":
		p.same(name, value, p.d.Revision)
	case "description":
		p.d.Description = p.text(name, value, checkDescription)
	case "image":
		p.d.Image = p.text(name, value, checkImage)
	case "address":
		p.d.Address = p.address(name, value)
	case "port":
		p.d.Port = p.port(name, value)
	case "health_check":
		p.healthCheck(name, value)
	case "environment":
		p.environment(name, value)
	case "volumes":
		p.d.Volumes = p.volumes(name, value)
	case "entrypoint":
		p.d.Entrypoint = p.words(name, value)
		if len(p.d.Entrypoint) > 0 && p.d.Entrypoint[0] == "" {
			p.problem(name+"[0]", "must not be empty")
		}
	case "command":
		p.d.Command = p.words(name, value)
	case "drain_timeout":
		p.d.DrainTimeout = p.duration(name, value, 0)
	case "stop_timeout":
		p.d.StopTimeout = p.duration(name, value, 0)
	case "start_timeout":
		p.d.StartTimeout = p.duration(name, value, time.Second)
	default:
		if strings.HasPrefix(name, "_") {
			return // CouchDB's own, like _attachments and _conflicts
		}
		p.unknown(name, "", documentFields)
	}
}

var (
	documentFields = []string{"_id", "_rev", "address", "command", "description", "drain_timeout", "entrypoint",
		"environment", "health_check", "image", "port", "start_timeout", "stop_timeout", "volumes"}
	healthCheckFields = []string{"interval", "path", "timeout", "type"}
)

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
		fields, err := members(value)
		if err != nil {
			p.problem(path, "%v", objectError(err, `must be "http", "tcp" or an object`, value))
			return
		}
		for _, f := range fields {
			p.healthCheckField(path+".", f.name, f.value)
		}
	}
	if h.Type == TCP && h.Path != "" {
		p.problem(path+".path", `is for the type "http" only`)
	}
}

func (p *parser) healthCheckField(parent, name string, value json.RawMessage) {
	h := &p.d.HealthCheck
	switch name {
	case "type":
		h.Type = p.text(parent+name, value, checkHealthCheckType)
	case "path":
		h.Path = p.text(parent+name, value, checkPath)
	case "timeout":
		h.Timeout = p.duration(parent+name, value, time.Second)
	case "interval":
		h.Interval = p.duration(parent+name, value, 10*time.Millisecond)
	default:
		p.unknown(name, parent, healthCheckFields)
	}
}
