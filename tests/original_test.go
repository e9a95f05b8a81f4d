//go:build machine

package tests

import (
	"testing"
	"time"

	"service-manager/tests/pouchdb"
	"service-manager/tests/vm"
)

// README's way from the bash original to this program, with its documents and its
// list of addresses as they are, while the service serves.
func TestTakeOverFromOriginal(t *testing.T) {
	long(t)
	server := pouchdb.Start(t, t.TempDir())
	g := start(t, installed(t, bookworm), vm.Options{})
	if err := g.ReverseForward(ctx(t, time.Minute), 5984, server.Address); err != nil {
		t.Fatal(err)
	}
	server.Send("PUT", "/services", "")
	document := func(revision string) string {
		return definition{"port": 80, "image": "app:1", "health_check": "http", "environment": map[string]string{"APP_REVISION": revision}}.JSON(t)
	}
	rev := server.Put("/services/web", "", document("r0"))
	output(t, g, "mkdir -p /opt/service-manager")
	put(t, g, "original/launch", "/opt/service-manager/launch")
	put(t, g, "original/web@.service", "/etc/systemd/system/web@.service")
	output(t, g, `echo '[{"name": "web", "address": "`+address+`"}]' > /opt/services.json
chmod +x /opt/service-manager/launch
systemctl daemon-reload
systemctl start web@manager`)
	answers(t, g, "r0")

	// Beside it, the new program does nothing while the old units are there.
	output(t, g, `cp /opt/services.json /etc/service-manager/addresses.json
echo COUCHDB_URL=http://127.0.0.1:5984/services >> /etc/service-manager/service-manager.conf
systemctl restart sm-fetch`)
	waitFor(t, g, time.Minute, `journalctl -u sm-fetch -o cat | grep -F '_id: must not be "web": its units would be instances of /etc/systemd/system/web@.service'`)
	l := startLoad(t, g, "", "--connections-per-second", "20", "--keep-alive", "0", "http://"+address+"/")
	output(t, g, "systemctl kill --signal=KILL web@manager")
	server.Put("/services/web", rev, document("r1"))
	output(t, g, "mv /etc/systemd/system/web@.service /root/")
	answers(t, g, "r1")
	waitFor(t, g, time.Minute, "systemctl show -P ExecStart web@manager | grep sm-rollout && systemctl is-active web@manager")
	output(t, g, "systemctl stop web@"+rev)
	settled(t, g, "r1")
	noneLost(t, "through the change of programs", l.stop(t))
}
