package definition

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"service-manager/units/name"
)

// A field is a member that a definition may have. Whatever knows the fields of a
// definition is made from the table below: the parser, its defaults and its hints for
// misspelt names, the JSON Schema, the manual page and README's table.
//
// A field that is only handed to Docker is one entry, with flag. Tests ask for a golden
// case of it.
type field struct {
	name     string // "health_check.path" is the member path of the object health_check
	says     string // what it says
	absent   string // the JSON value that stands for it when it is absent; empty for none, and with a flag
	required bool   // there is no definition, or no member of the list, without it
	without  string // in words, where absent does not say it
	example  string // a JSON value other than that
	schema   string // JSON Schema of a valid value
	secret   bool   // no error shows its value
	flag     string // of docker run: a string or each of a list of strings is handed to that
	many     bool   // a list of strings
	list     bool   // a list of objects
	instead  string // the field that it may replace, as a short form
	check    func(string) error
	parse    func(p *parser, path string, value json.RawMessage) // not for those with a flag
}

// fields are in the order in which people read them. Each object comes before its
// members.
var fields []field

// The parsers lead back to the table.
func init() {
	fields = []field{
		{
			name: "image", says: "image reference, as for `docker run`; pulled if it is not on this host", required: true,
			example: `"nginx:1.27"`, schema: `{"type": "string"}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Image = p.text(path, v, checkImage) },
		},
		{
			name: "address", says: "where clients reach the service: `IP:port`, `[IPv6]:port`, or `:port` of the IP in `ADDRESSES=`, see below",
			without: "what the host gives it, see below",
			example: `"172.17.0.1:7001"`, schema: `{"type": "string"}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.short.Address.AddrPort = p.address(path, v) },
		},
		{
			name: "port", says: "where the container listens",
			without: "the service is a worker, to which no client connects",
			example: `80`, schema: `{"type": "integer", "minimum": 1, "maximum": 65535}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.short.Port = p.port(path, v) },
		},
		{
			name: "endpoints", says: "several addresses, instead of `address` and `port`: a list of objects with the fields below",
			example: `[{"address": "172.17.0.1:7001", "port": 80}, {"address": "172.17.0.1:7001", "protocol": "udp", "port": 80}]`, list: true,
			parse: (*parser).endpoints,
		},
		{
			name: "endpoints.address", says: "`IP:port`, `[IPv6]:port` or `:port`", required: true,
			example: `"172.17.0.1:7001"`, schema: `{"type": "string"}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.endpoint.Address.AddrPort = p.address(path, v) },
		},
		{
			name: "endpoints.port", says: "where the container listens", required: true,
			example: `80`, schema: `{"type": "integer", "minimum": 1, "maximum": 65535}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.endpoint.Port = p.port(path, v) },
		},
		{
			name: "endpoints.protocol", says: "`\"tcp\"` or `\"udp\"`",
			absent: `"tcp"`, example: `"udp"`, schema: `{"enum": ["tcp", "udp"]}`,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.endpoint.Address.Protocol = p.text(path, v, checkProtocol)
			},
		},
		{
			name: "endpoints.scheduler", says: "how the kernel chooses among containers: `\"rr\"` in turn, `\"wlc\"` by connections, `\"sh\"` and `\"mh\"` by the client's address",
			absent: `"rr"`, example: `"wlc"`, schema: `{"enum": ["rr", "wlc", "sh", "mh"]}`,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.endpoint.Scheduler = p.text(path, v, checkScheduler)
			},
		},
		{
			name: "assign_address", says: "whether the host is given addresses that it lacks, for as long as a service uses them",
			absent: `false`, example: `true`, schema: `{"type": "boolean"}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.AssignAddress = p.boolean(path, v) },
		},
		{
			name: "description", says: "one line for `systemctl`",
			example: `"the shop"`, schema: `{"type": "string", "maxLength": 500}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Description = p.text(path, v, checkDescription) },
		},
		{
			name: "health_check", says: "how a container proves that it can serve: a type, or an object with the fields below",
			without: "`\"http\"`; `\"none\"` without an endpoint for TCP", example: `"tcp"`,
			parse: (*parser).healthCheck,
		},
		{
			name: "health_check.type", says: "`\"http\"`: a GET is answered with a status of 200 to 399; `\"tcp\"`: a connection is accepted; `\"none\"`: it stays up for 2 seconds",
			absent: `"http"`, example: `"tcp"`, schema: `{"enum": ["http", "tcp", "none"]}`,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.HealthCheck.Type = p.text(path, v, checkHealthCheckType)
			},
		},
		{
			name: "health_check.port", says: "where the container is probed",
			without: "that of the first endpoint for TCP", example: `8081`, schema: `{"type": "integer", "minimum": 1, "maximum": 65535}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.HealthCheck.Port = p.port(path, v) },
		},
		{
			name: "health_check.path", says: "path and query of the GET; for `\"http\"` only",
			without: "`\"/\"`", example: `"/up?deep=1"`, schema: `{"type": "string", "pattern": "^/"}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.HealthCheck.Path = p.text(path, v, checkPath) },
		},
		{
			name: "health_check.timeout", says: "how long the container may take to become healthy",
			absent: `"60s"`, example: `"10m"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.HealthCheck.Timeout = p.duration(path, v, time.Second)
			},
		},
		{
			name: "health_check.interval", says: "time between probes; the first ones are closer together, and those of a container that serves are a second apart or more",
			absent: `"250ms"`, example: `"1500ms"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.HealthCheck.Interval = p.duration(path, v, 10*time.Millisecond)
			},
		},
		{
			name: "health_check.failures", says: "how many probes in a row must fail before a container that serves gets no new connections; the last one that gets any keeps them; `0`: no probes once it serves",
			absent: `3`, example: `5`, schema: `{"type": "integer", "minimum": 0, "maximum": 1000}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.HealthCheck.Failures = p.count(path, v, 0, 1000) },
		},
		{
			name: "health_check.restart_after", says: "how long a container may be unhealthy before it is restarted",
			without: "never", example: `"1m"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.HealthCheck.RestartAfter = p.duration(path, v, time.Second)
			},
		},
		{
			name: "environment", says: "object of strings; containers also get `SYSTEM_HOSTNAME`, the host's name",
			example: `{"LANG": "C.UTF-8"}`, schema: `{"type": "object", "additionalProperties": {"type": "string"}}`, secret: true,
			parse: (*parser).environment,
		},
		{
			name: "volumes", says: "list of `SOURCE:TARGET[:OPTIONS]`, as for `docker run`",
			example: `["/srv/shop:/data:ro", "cache:/cache"]`, schema: `{"type": "array", "items": {"type": "string"}}`,
			parse: (*parser).volumes,
		},
		{
			name: "entrypoint", says: "list of strings, or one word; nothing is split or expanded",
			without: "the image's", example: `["/bin/shop", "serve"]`, schema: words, secret: true,
			parse: (*parser).entrypoint,
		},
		{
			name: "command", says: "list of strings, or one word: what the entrypoint is given",
			without: "the image's, unless there is an `entrypoint`", example: `["--verbose"]`, schema: words, secret: true,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Command = p.words(path, v) },
		},
		{
			name: "pre_start", says: "what runs once for each revision, in a container of its own, before the first one that serves: an object with the fields below",
			without: "nothing", example: `{"command": ["migrate", "--up"]}`,
			parse: (*parser).preStart,
		},
		{
			name: "pre_start.command", says: "what the entrypoint is given, instead of `command`", required: true,
			example: `["migrate", "--up"]`, schema: words, secret: true,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.PreStart.Command = p.words(path, v) },
		},
		{
			name: "pre_start.timeout", says: "how long it may take",
			absent: `"5m"`, example: `"1h"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.PreStart.Timeout = p.duration(path, v, time.Second)
			},
		},
		{
			name: "replicas", says: "how many containers run side by side; from 1 to 16, and 1 with `\"stop-first\"`; changing only this starts or stops as many as needed, and leaves the others alone",
			absent: `1`, example: `3`, schema: `{"type": "integer", "minimum": 1, "maximum": 16}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Replicas = p.count(path, v, 1, name.MaxReplicas) },
		},
		{
			name: "rollout", says: "how one revision replaces another: an object with the fields below",
			without: "the values below", example: `{"order": "stop-first", "hold": "10s"}`,
			parse: (*parser).rollout,
		},
		{
			name: "rollout.order", says: "`\"start-first\"`: the old container ends when the new one serves; `\"stop-first\"`: the new one starts when the old one has ended, for what cannot run twice",
			absent: `"start-first"`, example: `"stop-first"`, schema: `{"enum": ["start-first", "stop-first"]}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Rollout.Order = p.text(path, v, checkOrder) },
		},
		{
			name: "rollout.parallel", says: "how many replicas of a new revision start at once; the old ones end when all of them serve",
			absent: `1`, example: `2`, schema: `{"type": "integer", "minimum": 1, "maximum": 16}`,
			parse: func(p *parser, path string, v json.RawMessage) {
				p.d.Rollout.Parallel = p.count(path, v, 1, name.MaxReplicas)
			},
		},
		{
			name: "rollout.hold", says: "with `\"stop-first\"`: how long clients wait, instead of being refused, beyond the time that the old container may take to drain and stop",
			absent: `"30s"`, example: `"10s"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Rollout.Hold = p.duration(path, v, 0) },
		},
		{
			name: "drain", says: "how the open connections of a container end before it is stopped: an object with the fields below",
			without: "the values below", example: `{"timeout": "1m", "until": "answered"}`,
			parse: (*parser).drain,
		},
		{
			name: "drain.timeout", says: "how long it may take; several endpoints drain one after the other",
			absent: `"30s"`, example: `"1m"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Drain.Timeout = p.duration(path, v, 0) },
		},
		{
			name: "drain.until", says: "`\"closed\"`: every connection must end; `\"answered\"`: one that was answered and has been idle for a second may remain, as proxies keep for their next request",
			absent: `"closed"`, example: `"answered"`, schema: `{"enum": ["closed", "answered"]}`,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Drain.Until = p.text(path, v, checkUntil) },
		},
		{
			name: "drain_timeout", says: "short for `drain` with a `timeout` alone", instead: "drain",
			without: "what `drain` says", example: `"1m"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.Drain.Timeout = p.duration(path, v, 0) },
		},
		{
			name: "stop_timeout", says: "how long the container may take to end after its stop signal",
			absent: `"10s"`, example: `"2m"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.StopTimeout = p.duration(path, v, 0) },
		},
		{
			name: "start_timeout", says: "how long a step of the start may take without progress (a pull: at least 5 minutes); raised if the health check or `pre_start` needs longer",
			absent: `"5m"`, example: `"90s"`, schema: duration,
			parse: func(p *parser, path string, v json.RawMessage) { p.d.StartTimeout = p.duration(path, v, time.Second) },
		},
	}
}

// What several fields have.
const (
	duration = `{"type": "string", "pattern": "^(0|([0-9]+([.][0-9]*)?(ns|us|µs|ms|s|m|h))+)$"}`
	words    = `{"anyOf": [{"type": "string", "pattern": "^[^ \\t\\n]*$"}, {"type": "array", "items": {"type": "string"}}]}`
)

// members of a CouchDB document that the store decides.
var storeFields = []string{"_id", "_rev"}

// byName are the fields of the object that parent names, by their names in it.
var byName = sync.OnceValue(func() map[string]map[string]*field {
	all := map[string]map[string]*field{}
	for i := range fields {
		parent, name := split(fields[i].name)
		if all[parent] == nil {
			all[parent] = map[string]*field{}
		}
		all[parent][name] = &fields[i]
	}
	return all
})

// split returns the object that a field is in, empty for the definition itself, and
// its name there.
func split(name string) (parent, own string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// names are the names of the fields of an object, in the order of the table.
func names(parent string) []string {
	var list []string
	for _, f := range fields {
		if in, name := split(f.name); in == parent {
			list = append(list, name)
		}
	}
	return list
}

// required are the names of the fields that an object must have.
func required(parent string) []string {
	return slices.DeleteFunc(names(parent), func(name string) bool { return !byName()[parent][name].required })
}

// position is the place of a field in the table.
func position(name string) int {
	for i := range fields {
		if fields[i].name == name {
			return i
		}
	}
	return len(fields)
}

// absent is a parser with what an empty definition, and an empty endpoint, stand for.
var absent = sync.OnceValue(func() parser {
	var p parser
	for _, f := range fields {
		if f.absent != "" && f.parse != nil {
			f.parse(&p, f.name, json.RawMessage(f.absent))
		}
	}
	return p
})
