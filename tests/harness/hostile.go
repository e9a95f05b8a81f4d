package harness

import (
	"fmt"
	"testing"
)

// Hostile returns a definition of the test application whose values mean something
// to systemd, a shell or Docker, and the variables of its environment among them.
func Hostile() (Definition, map[string]string) {
	values := map[string]string{
		"NEWLINE":   "a\nExecStart=/bin/touch /run/evil\r\n[Install]\n",
		"QUOTES":    `"'\ \" \x41 \n`,
		"SPECIFIER": "%n %% %H",
		"VARIABLE":  "$PATH ${SM_CONTAINER_IP} $$ $",
		"CONTROL":   "\x01\x1b\x7f\t",
		"UNICODE":   "ä\u2028€ \U0001F600",
		"SEMICOLON": "; \\; | & `id` $(id) #",
		"FLAG":      "--privileged",
		"SPACES":    "  two  spaces  ",
		"EMPTY":     "",
	}
	d := App("r0").With("description", `100%n of $HOME "quoted" \`).With("health_check", map[string]any{"path": `/";%41$x'\`}).
		With("command", []string{";", "--privileged", "", "@x"})
	environment := d["environment"].(map[string]string)
	for name, value := range values {
		environment[name] = value
	}
	return d, values
}

// CheckHostile checks that what Hostile says has arrived in the container as it is,
// and nowhere else. output runs a script on the host.
func CheckHostile(t testing.TB, values map[string]string, output func(script string) string) {
	t.Helper()
	for name, value := range values {
		got := output(fmt.Sprintf(`docker inspect $(docker ps -q) | jq -r '.[0].Config.Env[] | select(startswith("%s=")) | @base64' | base64 -d; echo .`, name))
		if want := name + "=" + value + "."; got != want {
			t.Errorf("in the container: %q, want %q", got, want)
		}
	}
	if got := output("docker inspect $(docker ps -q) | jq -c '.[0] | [.Args, .HostConfig.Privileged]'"); got != `[[";","--privileged","","@x"],false]` {
		t.Errorf("arguments and privileges: %s", got)
	}
	if got := output("ls /run/evil 2>/dev/null; systemd-analyze --man=no verify /run/systemd/generator/web@*.service 2>&1; systemctl show -P Description web@manager"); got != `web: 100%n of $HOME "quoted" \ (service manager)` {
		t.Errorf("the units: %s", got)
	}
}
