//go:build native

package native

import "testing"

// The kernel's table of virtual services is cleared by hand. A restart or a reload of a
// manager puts everything back, as does the next step of a runner, and what serves is not
// started again.
func TestTableIsCleared(t *testing.T) {
	standIn(t)
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.first(t, "web", app("r0"))
		m.first(t, "api", app("a0").With("address", "172.17.0.1:7002"))
		m.output(t, "systemctl mask --runtime --now sm-watch") // which would be faster
		ids := m.output(t, "docker ps -q | sort")
		clear := func() {
			t.Helper()
			m.output(t, `rm /run/ipvs-table/table.json && test -z "$(sm-ipvs list)"`)
		}
		for _, command := range []string{"restart web@manager", "restart api@manager"} {
			clear()
			m.output(t, "systemctl "+command)
			m.settled(t, "web", "r0")
			m.settled(t, "api", "a0")
			if now := m.output(t, "docker ps -q | sort"); now != ids {
				t.Errorf("systemctl %s: the containers are %s, were %s", command, now, ids)
			}
		}
		clear()
		m.edit(t, "web", app("r1"))
		m.settled(t, "web", "r1")
		m.output(t, "systemctl stop api@manager web@manager")
		m.nothingLeft(t)
		m.output(t, `sm-ipvs restore && test -z "$(sm-ipvs list)"`)
	})
}
