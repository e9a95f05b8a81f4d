package harness

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// Address is where the service of most tests is reached: docker0's own address.
const Address = "172.17.0.1:7001"

// A Definition is what an operator writes into a file or a document.
type Definition map[string]any

// App returns a definition of the test application. The revision is what its
// answers carry; settings are further variables of its environment, NAME=value.
func App(revision string, settings ...string) Definition {
	environment := map[string]string{"APP_REVISION": revision}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		environment[name] = value
	}
	return Definition{"image": "app:1", "address": Address, "port": 80, "environment": environment,
		// Kept-alive connections never end by themselves: not all of the default 30s for each rollout.
		"drain_timeout": "5s"}
}

// With returns the definition with one field changed.
func (d Definition) With(field string, value any) Definition {
	changed := maps.Clone(d)
	changed[field] = value
	return changed
}

// JSON returns the definition as a document.
func (d Definition) JSON(t testing.TB) string {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
