//go:build native

package native

import (
	"strings"
	"testing"
	"time"

	"service-manager/tests/harness"
)

// secretFile holds, in the machine, what must not become known. It is made there, so that
// no script of a test has the secret among its own arguments.
const secretFile = "/root/secret"

// lookForSecret prints where the secret is found: by a user without any rights, and by
// root in what is kept or shown to others. What containers write is their own.
const lookForSecret = `set +e
secret=$(<` + secretFile + `)
cd /
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
as_nobody grep -alsFf /dev/stdin /proc/[0-9]*/cmdline /proc/[0-9]*/environ <<< "$secret"
as_nobody grep -rlsFf /dev/stdin /run /etc /tmp /var/lib/docker /var/log /var/tmp <<< "$secret"
shown=$(as_nobody systemctl show --all '*'; as_nobody systemctl cat 'web@*' 'sm-*'; as_nobody systemctl status -l --all 'web@*' 'sm-*') 2>/dev/null
case $shown in *"$secret"*) echo "systemctl: $(grep -F -m 3 -- "$secret" <<< "$shown")" ;; esac
grep -alsFf /dev/stdin /proc/[0-9]*/cmdline <<< "$secret"
grep -rlsFf /dev/stdin /run/systemd /run/service-manager /etc/systemd <<< "$secret"
journalctl -b -o export | grep -aF -m 3 -- "$secret"
for id in $(docker ps -aq); do docker inspect -f '{{json .Config.Labels}} {{json .Args}} {{json .Path}}' $id | grep -F -- "$secret"; done
true`

// A secret in an environment stays one, whatever goes wrong.
func TestSecret(t *testing.T) {
	onEither(t, func(t *testing.T, release string) {
		m := start(t, release)
		m.reach(t, 5001, harness.EmptyRegistry(t))
		m.output(t, `od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > `+secretFile)
		// Only root reads the definitions.
		edit := func(t *testing.T, text string) {
			t.Helper()
			m.output(t, `umask 077; text=$(cat <<'END'
`+text+`
END
)
cd /etc/service-manager/services; printf %s "${text//SECRET/$(<`+secretFile+`)}" > web.json.new && mv web.json.new web.json`)
		}
		look := func(t *testing.T) {
			t.Helper()
			if found := m.output(t, lookForSecret); found != "" {
				t.Errorf("the secret is in\n%s", found)
			}
		}
		with := func(revision string, settings ...string) definition {
			return app(revision, append(settings, "DB_PASSWORD=SECRET")...)
		}
		edit(t, with("r0").JSON(t))
		m.waitFor(t, patience, "test -L /etc/service-manager/revisions/web/good")
		m.settled(t, "web", "r0")
		m.output(t, `docker inspect $(docker ps -q) | grep -qF "DB_PASSWORD=$(<`+secretFile+`)"`)
		look(t)

		environment := func(value string) string {
			return `{"image": "app:1", "address": "172.17.0.1:7001", "port": 80, "environment": ` + value + `}`
		}
		invalid := []struct{ name, text string }{
			{"a list", environment(`["DB_PASSWORD=SECRET"]`)},
			{"a string", environment(`"DB_PASSWORD=SECRET"`)},
			{"an object as a value", environment(`{"DB_PASSWORD": {"SECRET": "SECRET"}}`)},
			{"a list as a value", environment(`{"DB_PASSWORD": ["SECRET"]}`)},
			{"a value in a name", environment(`{"DB_PASSWORD=SECRET": ""}`)},
			{"an invalid name beside it", environment(`{"DB_PASSWORD": "SECRET", "1 x": "y"}`)},
			{"a NUL", environment(`{"DB_PASSWORD": "SECRET\u0000"}`)},
			{"twice", environment(`{"DB_PASSWORD": "SECRET", "DB_PASSWORD": "SECRET"}`)},
			{"a misspelt field", `{"image": "app:1", "address": "172.17.0.1:7001", "port": 80, "enviroment": {"DB_PASSWORD": "SECRET"}}`},
			{"as docker compose has it", `{"image": "app:1", "address": "172.17.0.1:7001", "port": 80, "env": ["DB_PASSWORD=SECRET"]}`},
			{"a file that ends too soon", `{"image": "app:1", "environment": {"DB_PASSWORD": "SECRET`},
			{"no comma behind it", `{"environment": {"DB_PASSWORD": "SECRET"} "image": "app:1"}`},
			{"no quotes around it", `{"environment": {"DB_PASSWORD": SECRET}}`},
			{"too long", environment(`{"DB_PASSWORD": "SECRET` + strings.Repeat("x", 100_000) + `"}`)},
		}
		const problems = "journalctl -b -u sm-fetch -o cat | grep -c web || true"
		for _, bad := range invalid {
			t.Run(bad.name, func(t *testing.T) {
				before := m.output(t, problems)
				edit(t, bad.text)
				m.waitFor(t, 15*time.Second, "test \"$("+problems+")\" != '"+before+"'")
				said, status := m.try(t, "sm-fetch once web 2>&1")
				if status == 0 {
					t.Errorf("sm-fetch once succeeds: %s", said)
				}
				look(t)
			})
		}

		last := m.revision(t, "web", "good")
		for _, bad := range []struct {
			name string
			d    definition
		}{
			{"unknown image", with("x").With("image", "127.0.0.1:5001/none:1")},
			{"exits at once", with("x", "APP_EXIT_AT_ONCE=1", "APP_EXIT_STATUS=3")},
			{"never healthy", with("x", neverHealthy).With("health_check", map[string]any{"timeout": "1s"})},
			{"healthy, then dies", with("x", "APP_EXIT_AFTER=900ms")},
			{"no such program", with("x").With("entrypoint", []string{"/none"})},
			{"a volume that cannot be", with("x").With("volumes", []string{"/proc/none/none:/x"})},
		} {
			t.Run(bad.name, func(t *testing.T) {
				edit(t, bad.d.JSON(t))
				last = m.next(t, "web", last)
				m.rejected(t, "web", last)
				look(t)
			})
		}
		for _, f := range []fault{
			{Helper: "sm-docker-run", Verb: "run", Unit: "web@*", What: kill},
			{Helper: "sm-docker-run", Verb: "run", Unit: "web@*", What: hang},
			{Helper: "sm-rollout", Verb: "accept", Unit: "web@*", What: fail},
		} {
			t.Run(f.Helper+" "+f.Verb+": "+f.What, func(t *testing.T) {
				i := m.inject(t, f)
				edit(t, with(f.Helper+f.What).JSON(t))
				last = m.next(t, "web", last)
				i.sprung(t)
				look(t)
				if f.What == hang {
					i.kill(t)
				}
				m.rejected(t, "web", last)
				look(t)
			})
		}
		// What the container writes is in the journal, which not everyone may read; it
		// must not get from there to where everyone looks.
		t.Run("the last line of a container", func(t *testing.T) {
			edit(t, with("x", "APP_EXIT_AT_ONCE=1", "APP_LAST_LINE=cannot connect with SECRET").JSON(t))
			last = m.next(t, "web", last)
			m.rejected(t, "web", last)
			if found := m.output(t, strings.ReplaceAll(lookForSecret, "journalctl -b", "true")); found != "" {
				t.Errorf("the secret is in\n%s", found)
			}
		})
		m.serves(t, "web", "r0")
	})
}
