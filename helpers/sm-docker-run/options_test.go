package main

import (
	"io"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"

	"service-manager/helpers/internal/command"
)

func TestContainer(t *testing.T) {
	ten, zero := 10, 0
	truth := true
	type config = container.Config
	type host = container.HostConfig
	for _, test := range []struct {
		name string
		args []string
		want func(c *config, h *host)
	}{
		{"nothing", nil, func(c *config, h *host) {}},
		{"arguments", []string{"img", "-x", "--name", "y"}, func(c *config, h *host) { c.Cmd = []string{"-x", "--name", "y"} }},
		{"unit", []string{"--unit", "web@2.service"}, func(c *config, h *host) {
			c.Labels["OBJECT_SYSTEMD_UNIT"], c.Labels["service-manager.unit"] = "web@2.service", "web@2.service"
			h.LogConfig.Type = "journald"
			h.LogConfig.Config["labels"], h.LogConfig.Config["tag"] = "OBJECT_SYSTEMD_UNIT", "{{.Name}}"
		}},
		{"unit with log options", []string{"--unit", "u.service", "--log-opt", "labels=a,b", "--log-opt", "tag=t"}, func(c *config, h *host) {
			c.Labels["OBJECT_SYSTEMD_UNIT"], c.Labels["service-manager.unit"] = "u.service", "u.service"
			h.LogConfig.Type = "journald"
			h.LogConfig.Config["labels"], h.LogConfig.Config["tag"] = "OBJECT_SYSTEMD_UNIT,a,b", "t"
		}},
		{"unit with another log driver", []string{"--unit", "u.service", "--log-driver", "local", "--log-opt", "max-size=1m"}, func(c *config, h *host) {
			c.Labels["service-manager.unit"] = "u.service"
			h.LogConfig.Type = "local"
			h.LogConfig.Config["max-size"] = "1m"
		}},
		{"environment", []string{"--env", "A=b c", "--env", "B=", "--env", "SET", "--env", "UNSET"}, func(c *config, h *host) {
			c.Env = []string{"A=b c", "B=", "SET=s"}
		}},
		{"labels", []string{"--label", "a=b=c", "--label", "d"}, func(c *config, h *host) { c.Labels["a"], c.Labels["d"] = "b=c", "" }},
		{"volumes", []string{"--volume", "/a:/b:ro", "--volume", "data:/d", "--volume", "/anonymous"}, func(c *config, h *host) {
			h.Binds = []string{"/a:/b:ro", "data:/d"}
			c.Volumes["/anonymous"] = struct{}{}
		}},
		{"entry point", []string{"--entrypoint", "/x"}, func(c *config, h *host) { c.Entrypoint = []string{"/x"} }},
		{"no entry point", []string{"--entrypoint", ""}, func(c *config, h *host) { c.Entrypoint = []string{""} }},
		{"limits", []string{"--memory", "64m", "--cpus", "1.5"}, func(c *config, h *host) { h.Memory, h.NanoCPUs = 64<<20, 1.5e9 }},
		{"stop", []string{"--stop-timeout", "0", "--stop-signal", "SIGINT"}, func(c *config, h *host) { c.StopTimeout, c.StopSignal = &zero, "SIGINT" }},
		{"publish", []string{"--publish", "127.0.0.1:8080:80", "--publish", "53/udp"}, func(c *config, h *host) {
			c.ExposedPorts = nat.PortSet{"80/tcp": {}, "53/udp": {}}
			h.PortBindings = nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1", HostPort: "8080"}}, "53/udp": {{}}}
		}},
		{"plain ones", []string{"--network", "n", "--hostname", "h", "--user", "u:g", "--workdir", "/w", "--cgroup-parent", "p.slice",
			"--cap-add", "NET_ADMIN", "--cap-drop", "ALL", "--add-host", "a:1.2.3.4", "--dns", "9.9.9.9", "--read-only", "--init", "--tmpfs", "/run:size=1m", "--tmpfs", "/tmp"}, func(c *config, h *host) {
			h.NetworkMode, h.CgroupParent, h.ReadonlyRootfs, h.Init = "n", "p.slice", true, &truth
			c.Hostname, c.User, c.WorkingDir = "h", "u:g", "/w"
			h.CapAdd, h.CapDrop, h.ExtraHosts, h.DNS = []string{"NET_ADMIN"}, []string{"ALL"}, []string{"a:1.2.3.4"}, []string{"9.9.9.9"}
			h.Tmpfs["/run"], h.Tmpfs["/tmp"] = "size=1m", ""
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantConfig := &config{Image: "img", StopTimeout: &ten, Labels: map[string]string{}, Volumes: map[string]struct{}{}, ExposedPorts: nat.PortSet{}}
			wantHost := &host{
				RestartPolicy: container.RestartPolicy{Name: "no"},
				Tmpfs:         map[string]string{}, PortBindings: nat.PortMap{},
				LogConfig: container.LogConfig{Config: map[string]string{}},
			}
			test.want(wantConfig, wantHost)
			args := append([]string{"--name", "web"}, test.args...)
			if len(test.args) == 0 || test.args[0] != "img" {
				args = append(args, "img")
				wantConfig.Cmd = []string{}
			}
			env := func(name string) (string, bool) { return "s", name == "SET" }
			o, err := parseOptions(command.World{Args: args, Stdout: io.Discard, Env: env})
			if err != nil {
				t.Fatal(err)
			}
			c, h, err := o.container(env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantConfig, c); diff != "" {
				t.Errorf("container (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantHost, h); diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStopTimeout(t *testing.T) {
	for in, want := range map[string]int{"10": 10, "10s": 10, "1m": 60, "0": 0, "1500ms": 2, "1ns": 1} {
		var s stopTimeout
		if err := s.Set(in); err != nil || s.seconds() != want {
			t.Errorf("%q: %d seconds, %v; want %d", in, s.seconds(), err, want)
		}
	}
	for _, in := range []string{"", "-1", "-1s", "ten", "1.5", "99999999999999999999"} {
		s := stopTimeout(time.Hour)
		if err := s.Set(in); err == nil {
			t.Errorf("%q is taken for %d seconds", in, s.seconds())
		}
	}
}

func TestNanoCPUs(t *testing.T) {
	for in, want := range map[string]int64{"1": 1e9, "0.5": 5e8, "1.5": 1.5e9, "0.000000001": 1} {
		if got, err := nanoCPUs(in); err != nil || got != want {
			t.Errorf("nanoCPUs(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-1", "a", "0.0000000001", "1e30"} {
		if got, err := nanoCPUs(in); err == nil {
			t.Errorf("nanoCPUs(%q) = %d", in, got)
		}
	}
}
