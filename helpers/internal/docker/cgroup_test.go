package docker

import (
	"os"
	"strings"
	"testing"
)

func TestSlice(t *testing.T) {
	for _, test := range []struct{ name, cgroup, want string }{
		{"a unit of a template", "0::/system.slice/system-web.slice/web@2-9ab.service\n", "system.slice"},
		{"a unit", "0::/system.slice/web.service\n", "system.slice"},
		{"a unit with Slice=", "0::/my.slice/my-own.slice/web.service\n", "my-own.slice"},
		{"a service that manages its own groups", "0::/system.slice/web.service/payload\n", "system.slice"},
		{"a login session", "0::/user.slice/user-0.slice/session-3.scope\n", "user-0.slice"},
		{"a unit of a user's own manager", "0::/user.slice/user-7.slice/user@7.service/app.slice/x.service\n", "user-7.slice"},
		{"the root group", "0::/\n", ""},
		{"init", "0::/init.scope\n", ""},
		{"another container's view", "0::/../../web.service\n", ""},
		{"version 1", "12:memory:/x.slice\n1:name=systemd:/system.slice/web.service\n0::/\n", "system.slice"},
		{"version 1 and 2", "1:name=systemd:/system.slice/web.service\n0::/system.slice/web.service\n", "system.slice"},
		{"a path with colons", "0::/system.slice/a:b.service\n", "system.slice"},
		{"nothing", "", ""},
	} {
		if got := Slice(test.cgroup); got != test.want {
			t.Errorf("%s: Slice(%q) = %q; want %q", test.name, test.cgroup, got, test.want)
		}
	}
}

func TestOfUser(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"0::/user.slice/user-7.slice/user@7.service/app.slice/x.service\n":                   true,
		"1:name=systemd:/user.slice/user-7.slice/user@7.service/app.slice/x.service\n0::/\n": true,
		"0::/user.slice/user-7.slice/user@7.service\n":                                       true,
		"0::/system.slice/system-web.slice/web@2-9ab.service\n":                              false,
		"0::/user.slice/user-0.slice/session-3.scope\n":                                      false,
		"": false,
	} {
		if got := OfUser(cgroup); got != want {
			t.Errorf("OfUser(%q) = %v", cgroup, got)
		}
	}
}

func FuzzSlice(f *testing.F) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own))
	f.Add("1:name=systemd:/a.slice/b\n0::/a.slice")
	f.Fuzz(func(t *testing.T, cgroup string) {
		slice := Slice(cgroup)
		if slice != "" && (!strings.HasSuffix(slice, ".slice") || strings.ContainsAny(slice, "/\n") || !strings.Contains(cgroup, slice)) {
			t.Errorf("Slice(%q) = %q", cgroup, slice)
		}
	})
}
