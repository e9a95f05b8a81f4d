package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"service-manager/units/name"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const rev = "3-0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	least := Definition{
		Revision: name.Revision{Service: "web", Rev: rev}, Image: "nginx:1.27",
		Endpoints:   []Endpoint{{Address: tcp("172.17.0.1:7001"), Port: 80, Scheduler: "rr", Field: "address"}},
		HealthCheck: HealthCheck{Type: "http", Port: 80, Path: "/", Timeout: time.Minute, Interval: 250 * time.Millisecond, Failures: 3},
		PreStart:    PreStart{Timeout: 5 * time.Minute},
		Replicas:    1, Rollout: Rollout{StartFirst, 1, 30 * time.Second},
		Drain: Drain{30 * time.Second, Closed}, StopTimeout: 10 * time.Second, StartTimeout: 5 * time.Minute,
	}
	with := func(change func(*Definition)) Definition {
		d := least
		change(&d)
		return d
	}
	tests := []struct {
		name, document string
		want           Definition
	}{
		{"least", `{}`, least},
		{"members of CouchDB's own", `{"_attachments": {"a": 1}, "_conflicts": [], "_deleted_conflicts": [], "_local_seq": 1, "_revisions": {}, "_revs_info": []}`, least},
		{"names as the store has them", `{"_id": "web", "_rev": "` + rev + `"}`, least},
		{"description", `{"description": "Der Laden, 100 %"}`, with(func(d *Definition) { d.Description = "Der Laden, 100 %" })},
		{"IPv6", `{"address": "[fd00::1]:80"}`, with(func(d *Definition) {
			d.Endpoints = []Endpoint{{Address: tcp("[fd00::1]:80"), Port: 80, Scheduler: "rr", Field: "address"}}
		})},
		{"an address to be assigned", `{"assign_address": true}`, with(func(d *Definition) { d.AssignAddress = true })},
		{"health check by word", `{"health_check": "tcp"}`, with(func(d *Definition) { d.HealthCheck.Type, d.HealthCheck.Path = "tcp", "" })},
		{"health check in full", `{"health_check": {"type": "http", "path": "/up?x=$1%41", "timeout": "2m", "interval": "1s"}}`,
			with(func(d *Definition) {
				d.HealthCheck = HealthCheck{"http", 80, "/up?x=$1%41", 2 * time.Minute, time.Second, 3, 0}
			})},
		{"health check for life", `{"health_check": {"failures": 5, "restart_after": "10m"}}`,
			with(func(d *Definition) { d.HealthCheck.Failures, d.HealthCheck.RestartAfter = 5, 10*time.Minute })},
		{"health check before it serves alone", `{"health_check": {"failures": 0}}`, with(func(d *Definition) { d.HealthCheck.Failures = 0 })},
		{"health check of another port", `{"health_check": {"port": 8081}}`, with(func(d *Definition) { d.HealthCheck.Port = 8081 })},
		{"no health check", `{"health_check": "none"}`, with(func(d *Definition) {
			d.HealthCheck.Type, d.HealthCheck.Port, d.HealthCheck.Path, d.HealthCheck.Failures = "none", 0, "", 0
		})},
		{"environment is sorted", `{"environment": {"b": "2\n3", "A": "", "spring.x-y": "1"}}`,
			with(func(d *Definition) { d.Environment = []Variable{{"A", ""}, {"b", "2\n3"}, {"spring.x-y", "1"}} })},
		{"volumes", `{"volumes": ["/a:/b:ro,z", "data:/c:nocopy", "/d:/d:rslave"]}`,
			with(func(d *Definition) {
				d.Flags = []Flag{{"volumes", "--volume", "/a:/b:ro,z"}, {"volumes", "--volume", "data:/c:nocopy"}, {"volumes", "--volume", "/d:/d:rslave"}}
			})},
		{"command and entrypoint", `{"entrypoint": "/bin/sh", "command": ["-c", "echo $HOME; ls", ""]}`,
			with(func(d *Definition) {
				d.Entrypoint, d.Command = []string{"/bin/sh"}, []string{"-c", "echo $HOME; ls", ""}
			})},
		{"time-outs", `{"drain_timeout": "0s", "stop_timeout": "1m30s", "start_timeout": "24h"}`,
			with(func(d *Definition) { d.Drain.Timeout, d.StopTimeout, d.StartTimeout = 0, 90*time.Second, 24*time.Hour })},
		{"pre_start", `{"pre_start": {"command": ["migrate", "--up"], "timeout": "1h"}}`,
			with(func(d *Definition) { d.PreStart = PreStart{[]string{"migrate", "--up"}, time.Hour} })},
		{"rollout", `{"rollout": {"order": "stop-first", "hold": "10s"}}`,
			with(func(d *Definition) { d.Rollout = Rollout{StopFirst, 1, 10 * time.Second} })},
		{"pre_start, with a default", `{"pre_start": {"command": "migrate"}}`,
			with(func(d *Definition) { d.PreStart.Command = []string{"migrate"} })},
		{"drain", `{"drain": {"timeout": "2m", "until": "answered"}}`,
			with(func(d *Definition) { d.Drain = Drain{2 * time.Minute, Answered} })},
		{"drain, with a default", `{"drain": {"until": "answered"}}`,
			with(func(d *Definition) { d.Drain.Until = Answered })},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse("web", rev, withRequired(test.document))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

// tcp returns a service address.
func tcp(address string) Address { return Address{netip.MustParseAddrPort(address), TCP} }

func TestParseEndpoints(t *testing.T) {
	d, err := Parse("web", rev, []byte(`{"image": "dns:1", "endpoints": [
		{"address": "172.17.0.1:53", "port": 5353, "protocol": "udp"},
		{"address": "172.17.0.1:53", "port": 5354, "scheduler": "mh"},
		{"address": "[fd00::1]:53", "port": 5353}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Endpoint{
		{Address{netip.MustParseAddrPort("172.17.0.1:53"), UDP}, 5353, "rr", "endpoints[0].address"},
		{tcp("172.17.0.1:53"), 5354, "mh", "endpoints[1].address"},
		{tcp("[fd00::1]:53"), 5353, "rr", "endpoints[2].address"},
	}
	if !slices.Equal(d.Endpoints, want) || d.HealthCheck.Port != 5354 || d.HealthCheck.Type != HTTP {
		t.Errorf("%+v, %+v", d.Endpoints, d.HealthCheck)
	}
	if got := fmt.Sprint(d.Addresses()); got != "[172.17.0.1:53/udp 172.17.0.1:53 [fd00::1]:53]" {
		t.Error(got)
	}
	d, err = Parse("web", rev, []byte(`{"image": "dns:1", "endpoints": [{"address": "172.17.0.1:53", "port": 53, "protocol": "udp"}]}`))
	if err != nil || d.HealthCheck.Type != None {
		t.Errorf("with UDP only: %+v, %v", d, err)
	}

	many := strings.Repeat(`{},`, maxEndpoints) + `{}`
	for endpoints, want := range map[string]string{
		`{}`:                                    `endpoints: must be a list of objects like {"address": "172.17.0.1:7001", "port": 80} (got an object)`,
		`[]`:                                    `endpoints: must have an endpoint; a worker has no endpoints at all`,
		`[` + many + `]`:                        `endpoints: must have at most 64 members (got 65)`,
		`[1]`:                                   `endpoints[0]: must be an object (got a number)`,
		`[{"port": 80}]`:                        `endpoints[0].address: is missing`,
		`[{"address": "10.0.0.1:80"}]`:          `endpoints[0].port: is missing`,
		`[{"address": "10.0.0.1", "port": 80}]`: `endpoints[0].address: must be IP:port or [IPv6]:port (got "10.0.0.1")`,
		`[{"address": "10.0.0.1:80", "port": 80, "protocol": "sctp"}]`:                       `endpoints[0].protocol: must be "tcp" or "udp" (got "sctp")`,
		`[{"address": "10.0.0.1:80", "port": 80, "scheduler": "wrr"}]`:                       `endpoints[0].scheduler: must be "rr", "wlc", "sh" or "mh" (got "wrr")`,
		`[{"address": "10.0.0.1:80", "port": 80, "protocoll": "tcp"}]`:                       `endpoints[0].protocoll: is not a field of a definition; did you mean "protocol"?`,
		`[{"address": "10.0.0.1:80", "port": 80}, {"address": "10.0.0.1:80", "port": 81}]`:   `endpoints[1].address: 10.0.0.1:80 is already that of endpoints[0].address`,
		`[{"address": "10.0.0.1:80", "port": 80}], "port": 80`:                               `endpoints: cannot be combined with address and port`,
		`[{"address": "10.0.0.1:80", "port": 80, "protocol": "udp"}], "health_check": "tcp"`: `health_check.port: is missing; it must be given where the service has no endpoint for TCP`,
	} {
		_, err := Parse("web", rev, []byte(`{"image": "dns:1", "endpoints": `+endpoints+`}`))
		if err == nil || err.Error() != "web "+rev+": "+want {
			t.Errorf("%.80s: %v; want %s", endpoints, err, want)
		}
	}
}

// A service to which no client connects has neither an address nor a port.
func TestParseWorker(t *testing.T) {
	for document, want := range map[string]HealthCheck{
		`{"image": "worker:1"}`:                                                          {Type: "none"},
		`{"image": "worker:1", "health_check": "none"}`:                                  {Type: "none"},
		`{"image": "worker:1", "health_check": {"port": 8081}}`:                          {Type: "http", Port: 8081, Path: "/"},
		`{"image": "worker:1", "health_check": {"type": "tcp", "port": 8081}}`:           {Type: "tcp", Port: 8081},
		`{"image": "worker:1", "health_check": {"type": "none"}, "drain_timeout": "1m"}`: {Type: "none"},
	} {
		d, err := Parse("web", rev, []byte(document))
		if err != nil {
			t.Error(err)
			continue
		}
		want.Timeout, want.Interval = time.Minute, 250*time.Millisecond
		if want.Type != None {
			want.Failures = 3
		}
		if !d.Worker() || d.HealthCheck != want {
			t.Errorf("%s: %+v at %v; want %+v at none", document, d.HealthCheck, d.Endpoints, want)
		}
	}
	for document, want := range map[string]string{
		`"health_check": "http"`:                        "health_check.port: is missing; it must be given where the service has no endpoint for TCP",
		`"health_check": {"type": "tcp"}`:               "health_check.port: is missing; it must be given where the service has no endpoint for TCP",
		`"health_check": {"type": "none", "port": 80}`:  `health_check.port: is not for the type "none"`,
		`"health_check": {"type": "none", "path": "/"}`: `health_check.path: is for the type "http" only`,
	} {
		_, err := Parse("web", rev, []byte(`{"image": "worker:1", `+document+"}"))
		if err == nil || err.Error() != "web "+rev+": "+want {
			t.Errorf("%s: %v; want %s", document, err, want)
		}
	}
}

// withRequired adds the fields of a service with clients that a document does not have.
func withRequired(document string) []byte {
	given, _ := members([]byte(document)) // what is no object has none
	for name, value := range map[string]string{"image": `"nginx:1.27"`, "address": `"172.17.0.1:7001"`, "port": "80"} {
		if !has(given, name) && (name == "image" || !has(given, "endpoints")) {
			document = strings.Replace(document, "{", `{"`+name+`": `+value+", ", 1)
		}
	}
	return []byte(strings.Replace(document, ", }", "}", 1))
}

func TestParseInvalid(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	tests := []struct {
		document string
		want     []string // the problems, in any order, without service and revision
	}{
		{`{"image": 1}`, []string{`image: must be a string (got 1)`}},
		{`{"image": "--privileged"}`, []string{`image: must be an image reference like nginx:1.27 or registry.example:5000/team/app@sha256:… (got "--privileged")`}},
		{`{"image": "a b"}`, []string{`image: must be an image reference like nginx:1.27 or registry.example:5000/team/app@sha256:… (got "a b")`}},
		{`{"address": "172.17.0.1"}`, []string{`address: must be IP:port or [IPv6]:port (got "172.17.0.1")`}},
		{`{"address": ""}`, []string{`address: must be IP:port or [IPv6]:port (got "")`}},
		{`{"address": "localhost:80"}`, []string{`address: must be IP:port or [IPv6]:port (got "localhost:80")`}},
		{`{"address": "127.0.0.1:80"}`, []string{`address: must not be a loopback address, which the kernel cannot balance; use another address of the host, such as docker0's (got "127.0.0.1:80")`}},
		{`{"address": "[::1]:80"}`, []string{`address: must not be a loopback address, which the kernel cannot balance; use another address of the host, such as docker0's (got "[::1]:80")`}},
		{`{"address": "0.0.0.0:80"}`, []string{`address: must be one plain address of the host (got "0.0.0.0:80")`}},
		{`{"address": "[fe80::1%eth0]:80"}`, []string{`address: must be one plain address of the host (got "[fe80::1%eth0]:80")`}},
		{`{"address": "10.0.0.1:0"}`, []string{`address: must have a port from 1 to 65535 (got "10.0.0.1:0")`}},
		{`{"port": 0}`, []string{`port: must be a number from 1 to 65535 (got 0)`}},
		{`{"port": 65536}`, []string{`port: must be a number from 1 to 65535 (got 65536)`}},
		{`{"port": "80"}`, []string{`port: must be a number from 1 to 65535 (got "80")`}},
		{`{"port": null}`, []string{`port: must be a number from 1 to 65535 (got null)`}},
		{`{"health_check": {"path": "up"}}`, []string{`health_check.path: must begin with "/" (got "up")`}},
		{`{"health_check": {"path": "/a b"}}`, []string{`health_check.path: must be made of printable ASCII characters without spaces and "#"; escape others as %XX (got "/a b")`}},
		{`{"health_check": {"path": "/%4"}}`, []string{`health_check.path: must have two hexadecimal digits after each "%" (got "/%4")`}},
		{`{"health_check": {"path": "/%n1"}}`, []string{`health_check.path: must have two hexadecimal digits after each "%" (got "/%n1")`}},
		{`{"health_check": {"path": "/%"}}`, []string{`health_check.path: must have two hexadecimal digits after each "%" (got "/%")`}},
		{`{"health_check": {"type": "tcp", "path": "/"}}`, []string{`health_check.path: is for the type "http" only`}},
		{`{"assign_address": "yes"}`, []string{`assign_address: must be true or false (got "yes")`}},
		{`{"health_check": "grpc"}`, []string{`health_check: must be "http", "tcp" or "none" (got "grpc")`}},
		{`{"health_check": {"type": "grpc", "retries": 3}}`, []string{
			`health_check.type: must be "http", "tcp" or "none" (got "grpc")`, `health_check.retries: is not a field of a definition`}},
		{`{"health_check": {"timeout": 30, "interval": "1ms"}}`, []string{
			`health_check.timeout: must be a duration like "30s" or "5m" (got 30)`, `health_check.interval: must be at least 10ms (got "1ms")`}},
		{`{"health_check": {"failures": -1}}`, []string{`health_check.failures: must be a number from 0 to 1000 (got -1)`}},
		{`{"health_check": {"failures": "3"}}`, []string{`health_check.failures: must be a number from 0 to 1000 (got "3")`}},
		{`{"health_check": {"restart_after": "10ms"}}`, []string{`health_check.restart_after: must be at least 1s (got "10ms")`}},
		{`{"health_check": {"failures": 0, "restart_after": "1m"}}`, []string{`health_check.restart_after: needs failures above 0`}},
		{`{"health_check": {"type": "none", "restart_after": "1m"}}`, []string{
			`health_check.restart_after: is not for the type "none"; what has ended is restarted at once`}},
		{`{"health_check": ["http"]}`, []string{`health_check: must be "http", "tcp", "none" or an object (got a list)`}},
		{`{"environment": {"PORT": 80}}`, []string{`environment.PORT: must be a string (got a number)`}},
		{`{"environment": {"A=s3cret": "", "1": ""}}`, []string{
			`environment.A=…: a variable's name must be made of letters, digits, "_", "." and "-", and begin with a letter or "_"`,
			`environment.1: a variable's name must be made of letters, digits, "_", "." and "-", and begin with a letter or "_"`}},
		{`{"environment": {"A": "x\ufffe"}, "command": ["\ufdd0"], "volumes": ["/a:/\udbff\udfff"]}`, []string{
			`command[0]: must not contain what Unicode calls noncharacters, such as U+FFFE (got a string)`,
			`environment.A: must not contain what Unicode calls noncharacters, such as U+FFFE (got a string)`,
			`volumes[0]: must not contain what Unicode calls noncharacters, such as U+FFFE (got "/a:/\udbff\udfff")`,
		}},
		{`{"environment": {"A": "x\u0000"}}`, []string{`environment.A: must not contain a NUL character (got a string)`}},
		{`{"environment": ["A=B"]}`, []string{`environment: must be an object of strings, like {"NAME": "value"} (got a list)`}},
		{`{"environment": {"A": "1", "A": "2"}}`, []string{`environment: has A twice`}},
		{`{"environment": {"A": "` + long[:100_001] + `"}}`, []string{`environment.A: must have at most 100000 bytes (got a string)`}},
		{`{"volumes": ["a", "/a:b", "../x:/b", "/a:/b:", "/a:/b:ro:z", 7, "/a", "/srv:/data:bogus", "/a:/c:ro,rw", "a1:/d:shared", "/a:/e:nocopy", "/a:/.", "/a:/f", "/g:/f/"]}`, []string{
			`volumes[0]: must be SOURCE:TARGET; without a source, the data would go with the container (got "a")`,
			`volumes[1]: must have an absolute path as its target (got "/a:b")`,
			`volumes[2]: must have an absolute path or a volume's name before the first colon (got "../x:/b")`,
			`volumes[3]: must have options like ro or ro,z after the second colon; "" is not one (got "/a:/b:")`,
			`volumes[4]: must be SOURCE:TARGET or SOURCE:TARGET:OPTIONS (got "/a:/b:ro:z")`,
			`volumes[5]: must be a string (got 7)`,
			`volumes[6]: must be SOURCE:TARGET; without a source, the data would go with the container (got "/a")`,
			`volumes[7]: must have options like ro or ro,z after the second colon; "bogus" is not one (got "/srv:/data:bogus")`,
			`volumes[8]: must not have the options ro and rw together (got "/a:/c:ro,rw")`,
			`volumes[9]: must not have the option shared, which is for paths of the host only (got "a1:/d:shared")`,
			`volumes[10]: must not have the option nocopy, which is for named volumes only (got "/a:/e:nocopy")`,
			`volumes[11]: must have a target other than the container's root (got "/a:/.")`,
			`volumes[13]: has the same target as volumes[12], /f`}},
		{`{"command": "sleep 5"}`, []string{`command: must be a list of strings, like ["sleep", "5"] (got a string)`}},
		{`{"entrypoint": [""]}`, []string{`entrypoint[0]: must not be empty`}},
		{`{"drain_timeout": "-1s", "stop_timeout": "soon", "start_timeout": "25h"}`, []string{
			`drain_timeout: must be at least 0s (got "-1s")`, `stop_timeout: must be a duration like "30s" or "5m" (got "soon")`,
			`start_timeout: must be at most 24h0m0s (got "25h")`}},
		{`{"drain": {"timeout": "-1s", "until": "idle"}}`, []string{
			`drain.timeout: must be at least 0s (got "-1s")`, `drain.until: must be "closed" or "answered" (got "idle")`}},
		{`{"replicas": 0}`, []string{`replicas: must be a number from 1 to 16 (got 0)`}},
		{`{"replicas": "2"}`, []string{`replicas: must be a number from 1 to 16 (got "2")`}},
		{`{"rollout": {"parallel": 17}}`, []string{`rollout.parallel: must be a number from 1 to 16 (got 17)`}},
		{`{"replicas": 2, "rollout": {"order": "stop-first"}}`, []string{`replicas: must be 1 with the order "stop-first", which is for what cannot run twice (got 2)`}},
		{`{"rollout": "stop-first"}`, []string{`rollout: must be an object like {"order": "stop-first"} (got a string)`}},
		{`{"rollout": {"order": "stop", "hold": "-1s"}}`, []string{
			`rollout.order: must be "start-first" or "stop-first" (got "stop")`, `rollout.hold: must be at least 0s (got "-1s")`}},
		{`{"pre_start": ["migrate"]}`, []string{`pre_start: must be an object like {"command": ["migrate", "--up"]} (got a list)`}},
		{`{"pre_start": {"timeout": "1m"}}`, []string{`pre_start.command: is missing`}},
		{`{"pre_start": {"command": []}}`, []string{`pre_start.command: must not be empty`}},
		{`{"pre_start": {"command": "migrate --up", "timeout": "0s"}}`, []string{
			`pre_start.command: must be a list of strings, like ["sleep", "5"] (got a string)`, `pre_start.timeout: must be at least 1s (got "0s")`}},
		{`{"drain": "1m"}`, []string{`drain: must be an object like {"timeout": "30s", "until": "answered"} (got a string)`}},
		{`{"drain": {"time_out": "1m"}, "drain_timeout": "1m"}`, []string{
			`drain.time_out: is not a field of a definition; did you mean "timeout"?`, `drain_timeout: cannot be combined with drain`}},
		{`{"description": "a\nExecStart=/bin/evil"}`, []string{`description: must be one line of printable characters (got "a\nExecStart=/bin/evil")`}},
		{`{"_id": "other", "_rev": 1}`, []string{`_id: must be "web", as the store calls it (got "other")`, `_rev: must be a string (got 1)`}},
		{`{"healthcheck": "http", "volume": [], "colour": 1, "a\nb": 1}`, []string{
			`healthcheck: is not a field of a definition; did you mean "health_check"?`,
			`volume: is not a field of a definition; did you mean "volumes"?`,
			`colour: is not a field of a definition`, `"a\nb": is not a field of a definition`}},
		{`{"port": 1, "port": 2}`, []string{`the definition has port twice`}},
		{`{"prot": 1, "drain_timout": "1s", "up": 1, "DB_PASSWORD=s3cret": ""}`, []string{
			`prot: is not a field of a definition; did you mean "port"?`,
			`drain_timout: is not a field of a definition; did you mean "drain_timeout"?`,
			`up: is not a field of a definition`, `DB_PASSWORD=…: is not a field of a definition`}},
		{`{"environment": {"` + long[:257] + `": ""}}`, []string{`environment."` + long[:59] + `…: a variable's name must have at most 256 bytes`}},
		{`{} {}`, []string{`the definition is not JSON: invalid character '{' after top-level value, in line 1, column 67`}},
		{`{"port": }`, []string{`the definition is not JSON: invalid character '}' looking for beginning of value, in line 1, column 75`}},
		{"{\"description\": \"ä\",\n  \"ä\" 1\n}", []string{`the definition is not JSON: invalid character '1' after object key, in line 2, column 7`}},
	}
	for _, test := range tests {
		_, err := Parse("web", rev, withRequired(test.document))
		var invalid *Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("Parse(%.80s) = %v; want an *Invalid", test.document, err)
			continue
		}
		var want []string
		for _, w := range test.want {
			want = append(want, "web "+rev+": "+w)
		}
		if diff := cmp.Diff(want, invalid.Lines(), cmpopts.SortSlices(strings.Compare)); diff != "" {
			t.Errorf("Parse(%.80s) (-want +got):\n%s", test.document, diff)
		}
	}
}

func TestComplete(t *testing.T) {
	whole := string(withRequired(`{"environment": {"A": "b"}}`))
	for cut := range whole {
		if Complete([]byte(whole[:cut])) {
			t.Errorf("%s is complete", whole[:cut])
		}
	}
	for _, document := range []string{whole, `{"a": b`, "[]", "7", "\xef\xbb\xbf{"} {
		if !Complete([]byte(document)) {
			t.Errorf("%s is not complete", document)
		}
	}
}

func TestNoObject(t *testing.T) {
	if _, err := Parse("web", rev, []byte("[]")); err == nil || !strings.Contains(err.Error(), "must be a JSON object") {
		t.Errorf("Parse([]) = %v; want that it must be an object", err)
	}
	if _, err := Parse("web", rev, make([]byte, MaxSize+1)); err == nil || !strings.Contains(err.Error(), "at most 128 KiB") {
		t.Errorf("Parse of too large a document = %v; want how large it may be", err)
	}
}

// A document that is no definition gets one line, whatever else it has.
func TestParseOther(t *testing.T) {
	for document, want := range map[string]string{
		`{"title": "notes", "text": 1}`:                            `image: is missing`,
		`{"iamge": "nginx", "port": "x"}`:                          `image: is missing; is iamge a misspelling of it?`,
		"\xef\xbb\xbf{}":                                           `the definition begins with a byte order mark; save it as UTF-8 without one`,
		"\xff\xfe{\x00}\x00":                                       `the definition is UTF-16; save it as UTF-8`,
		`{"image": "nginx", "port": 80}`:                           `address: is missing; give the service one here, like "172.17.0.1:7001", in /etc/service-manager/addresses.json, or set ADDRESSES= in /etc/service-manager/service-manager.conf`,
		`{"image": "nginx", "address": "10.0.0.1:80", "Port": 80}`: "port: is missing; is Port a misspelling of it?\nweb " + rev + `: Port: is not a field of a definition; did you mean "port"?`,
	} {
		_, err := Parse("web", rev, []byte(document))
		lines := strings.Split(fmt.Sprint(err), "\n")
		slices.Sort(lines)
		wanted := strings.Split("web "+rev+": "+want, "\n")
		slices.Sort(wanted)
		if diff := cmp.Diff(wanted, lines); diff != "" {
			t.Errorf("Parse(%s) (-want +got):\n%s", document, diff)
		}
	}
}

// However much is wrong with a document, a few lines say it.
func TestParseManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"image": "nginx", "address": "10.0.0.1:80", "port": 80`)
	for i := range 1000 {
		fmt.Fprintf(&b, `, "x%d": 1`, i)
	}
	_, err := Parse("web", rev, []byte(b.String()+"}"))
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	lines := invalid.Lines()
	if len(lines) != 21 || lines[20] != "web "+rev+": and 980 more problems" {
		t.Errorf("%d lines, the last is %q; want 20 problems and how many more there are", len(lines), lines[len(lines)-1])
	}
	if got := thousands(130901) + thousands(1) + thousands(1000); got != "130,90111,000" {
		t.Errorf("thousands = %s", got)
	}
}

// Lists and objects have limits, each with its message, and checking as much as fits into
// a document takes no time.
func TestParseLimits(t *testing.T) {
	document := func(field, open, element, end string, n int) []byte {
		var b strings.Builder
		fmt.Fprintf(&b, `{"image": "nginx", "address": "10.0.0.1:80", "port": 80, "%s": %s`, field, open)
		for i := range n {
			b.WriteString(strings.Repeat(",", min(i, 1)) + strings.ReplaceAll(element, "#", strconv.Itoa(i)))
		}
		return []byte(b.String() + end + "}")
	}
	for _, test := range []struct{ field, open, element, end, problem string }{
		{"environment", "{", `"A#":""`, "}", "environment: has more than 1024 members"},
		{"command", "[", `"#"`, "]", "command: must have at most 1024 members (got 1025)"},
		{"volumes", "[", `"/a:/#"`, "]", "volumes: must have at most 1024 members (got 1025)"},
		{"health_check", "{", `"#":1`, "}", "health_check: has more than 1024 members"},
	} {
		_, err := Parse("web", rev, document(test.field, test.open, test.element, test.end, 1025))
		if want := "web " + rev + ": " + test.problem; fmt.Sprint(err) != want {
			t.Errorf("got %v; want %s", err, want)
		}
		_, err = Parse("web", rev, document(test.field, test.open, test.element, test.end, 1024))
		if strings.Contains(fmt.Sprint(err), "1024") {
			t.Errorf("1024 members of %s: %v", test.field, err)
		}
	}
	words := strings.Repeat("x", 33<<10)
	_, err := Parse("web", rev, withRequired(`{"entrypoint": ["`+words[:32<<10]+`"], "command": ["`+words+`"], "volumes": ["/a:/b"]}`))
	if want := "web " + rev + ": command: must have at most 64 KiB, together with everything else in a command"; fmt.Sprint(err) != want {
		t.Errorf("got %v; want %s", err, want)
	}
	begin := time.Now()
	for range 20 {
		Parse("web", rev, document("environment", "{", `"A#":""`, "}", 12_000))
	}
	t.Logf("a document of 12,000 variables takes %s", time.Since(begin)/20)
}

// The scanner must see what encoding/json sees.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"a": 1, "b": [1, {"c": "}\\\""}], "": null, "\u0061x": "y" , "t":true}`))
	f.Add([]byte(` { } `))
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := members(document)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(document, &want)
		if err != nil {
			if wantErr == nil && want != nil && !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "more than") {
				t.Fatalf("members(%q) = %v; encoding/json accepts it", document, err)
			}
			return
		}
		if wantErr != nil || len(got) != len(want) {
			t.Fatalf("members(%q) = %v; encoding/json has %v, %v", document, got, want, wantErr)
		}
		for _, m := range got {
			if string(m.value) != string(want[m.name]) {
				t.Errorf("members(%q): %q is %q; encoding/json has %q", document, m.name, m.value, want[m.name])
			}
		}
	})
}

// What Parse accepts must hold what its callers rely on, whatever the bytes.
func FuzzParse(f *testing.F) {
	f.Add("web", rev, []byte(`{"image": "nginx", "address": "10.0.0.1:80", "port": 80, "environment": {"A": "$%;\""}, "command": ["a\n"]}`))
	f.Add("web", rev, []byte(`{"image": "nginx@sha256:`+strings.Repeat("0", 64)+`", "address": "[fd00::1]:80", "port": 80, "health_check": {"path": "/"}, "volumes": ["/a:/b"]}`))
	f.Fuzz(func(t *testing.T, service, revision string, document []byte) {
		d, err := Parse(service, revision, document)
		if err != nil {
			var invalid *Invalid
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("Parse = %v; want an *Invalid with problems", err)
			}
			return
		}
		if r, err := name.ParseRevision(service, revision); err != nil || d.Revision != r {
			t.Errorf("accepted the names %q and %q as %v", service, revision, d.Revision)
		}
		if strings.HasPrefix(d.Image, "-") || strings.ContainsAny(d.Image, " \n\t\"'\\%$") {
			t.Errorf("accepted the image %q", d.Image)
		}
		for _, e := range d.Endpoints {
			if !e.Address.IsValid() || e.Address.AddrPort.Port() == 0 || e.Port == 0 || e.Address.Protocol == "" || e.Field == "" {
				t.Errorf("accepted the endpoint %+v", e)
			}
		}
		if d.HealthCheck.Type != None && d.HealthCheck.Port == 0 {
			t.Error("accepted a health check without a port")
		}
		if strings.ContainsAny(d.Description, "\n\r\x00") {
			t.Errorf("accepted the description %q", d.Description)
		}
		if d.HealthCheck.Type == HTTP && !strings.HasPrefix(d.HealthCheck.Path, "/") {
			t.Errorf("accepted the path %q", d.HealthCheck.Path)
		}
	})
}
