//go:build native

package native

import (
	"strings"
	"testing"
)

// What the other tests take for granted.
func TestMachine(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		t.Log(m.output(t, `. /etc/os-release; echo "$PRETTY_NAME, kernel $(uname -r), $(systemctl --version | head -1), Docker $(docker version -f '{{.Server.Version}}')"`))
		m.first(t, "web", app("r0"))
		f := m.inject(t, fault{Helper: "sm-ipvs", Verb: "add", Unit: "web@2-*", What: hang})
		m.edit(t, "web", app("r1"))
		f.sprung(t)
		f.kill(t)
		m.serves(t, "web", "r0")
		if out, status := m.try(t, "exit 3"); status != 3 || strings.TrimSpace(out) != "" {
			t.Errorf("%q, exit status %d", out, status)
		}
	})
}
