//go:build native

package native

import "testing"

// A host with ADDRESSES= gives each service that names no address one, for ever.
func TestGivenAddresses(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.output(t, "echo ADDRESSES=172.17.0.1:7300-7301 >> /etc/service-manager/service-manager.conf && systemctl restart sm-fetch")
		unnamed := func(revision string) definition {
			d := app(revision)
			delete(d, "address")
			return d
		}
		at := func(address, service string) {
			t.Helper()
			m.waitFor(t, patience, `set -e
. "$(ls /run/service-manager/`+service+`/*.env)"
sm-ipvs list `+address+` | grep -F "$SM_CONTAINER_IP:80"`)
		}
		m.edit(t, "web", unnamed("r0"))
		at("172.17.0.1:7300", "web")
		m.edit(t, "api", unnamed("r0"))
		at("172.17.0.1:7301", "api")
		m.edit(t, "more", unnamed("r0"))
		m.waitFor(t, patience, "journalctl -o cat -u sm-fetch | grep -F 'more 1-' | grep -F 'address: no address of ADDRESSES=172.17.0.1:7300-7301 is free'")
		m.edit(t, "more", unnamed("r1").With("address", ":7400"))
		at("172.17.0.1:7400", "more")

		m.output(t, "rm /etc/service-manager/services/web.json")
		m.waitFor(t, patience, "! test -e /etc/service-manager/revisions/web")
		m.output(t, "systemctl restart sm-fetch")
		m.edit(t, "web", unnamed("r1"))
		at("172.17.0.1:7300", "web")
	})
}
