package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Wherever systemd finds a drop-in for a runner, the last steps of its rollout have
// to come from a drop-in behind it.
func TestDropIns(t *testing.T) {
	for _, test := range []struct {
		name    string
		files   []string
		service string
		beside  bool
		runner  []string
	}{
		{"none", nil, "web", false, nil},
		{"the template", []string{"/etc/systemd/system/web@.service.d/a.conf"}, "web", true, nil},
		{"another template", []string{"/etc/systemd/system/web@.service.d/a.conf"}, "web2", false, nil},
		{"until the next boot", []string{"/run/systemd/system/web@.service.d/a.conf"}, "web", true, nil},
		{"of a package", []string{"/usr/lib/systemd/system/web@.service.d/a.conf"}, "web", true, nil},
		{"set-property", []string{"/etc/systemd/system.control/web@1-62d4023616ab1e7921f74f650aab51e1.service.d/50-x.conf"}, "web", true, nil},
		{"set-property --runtime", []string{"/run/systemd/system.control/web@1-62d4023616ab1e7921f74f650aab51e1.service.d/50-x.conf"}, "web", true, nil},
		{"every service of the host", []string{"/run/systemd/system/service.d/a.conf"}, "web", true, nil},
		{"the first part of the name", []string{"/etc/systemd/system/shop-@.service.d/a.conf"}, "shop-web-1", true, nil},
		{"two parts of the name", []string{"/usr/local/lib/systemd/system/shop-web-@.service.d/a.conf"}, "shop-web-1", true, nil},
		{"a name that is a part", []string{"/etc/systemd/system/shop-@.service.d/a.conf"}, "shop", false, nil},
		{"the manager", []string{"/etc/systemd/system/web@manager.service.d/a.conf"}, "web", false, nil},
		{"a unit of that name", []string{"/etc/systemd/system/web.service.d/a.conf"}, "web", false, nil},
		{"no drop-in", []string{"/etc/systemd/system/web@.service.d/README", "/etc/systemd/system/web@.service.d/.a.conf"}, "web", false, nil},
		{"another kind of unit", []string{"/etc/systemd/system/web@.socket.d/a.conf", "/etc/systemd/system/xservice.d/a.conf"}, "web", false, nil},
		{"what we wrote ourselves", []string{"/run/systemd/generator/web@.service.d/zz-rollout.conf"}, "web", false, nil},
		{"runners", []string{
			"/usr/lib/systemd/system/web@runner.service.d/10-a.conf", "/usr/lib/systemd/system/web@runner.service.d/30-c.conf",
			"/run/systemd/system/web@runner.service.d/20-b.conf", "/etc/systemd/system/web@runner.service.d/30-c.conf",
		}, "web", false, []string{
			"/usr/lib/systemd/system/web@runner.service.d/10-a.conf", "/run/systemd/system/web@runner.service.d/20-b.conf",
			"/etc/systemd/system/web@runner.service.d/30-c.conf",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, file := range test.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			d, err := findDropIns(root)
			if err != nil || d.beside(test.service) != test.beside || !slices.Equal(d.runner[test.service], test.runner) {
				t.Errorf("beside %v, runner %q, %v; want %v, %q", d.beside(test.service), d.runner[test.service], err, test.beside, test.runner)
			}
		})
	}
}
