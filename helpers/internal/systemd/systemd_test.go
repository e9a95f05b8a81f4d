package systemd

import "testing"

func TestVersion(t *testing.T) {
	for text, want := range map[string]int{
		`"252.39-1~deb12u2"`: 252, `"257.9-1~deb13u1"`: 257, "v256.4": 256, "255": 255, "": 0, "none": 0,
	} {
		if got := version(text); got != want {
			t.Errorf("version(%s) = %d; want %d", text, got, want)
		}
	}
}

func TestIsRunner(t *testing.T) {
	for unit, want := range map[string]bool{
		"postgresql@2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d.service": true,
		"postgresql@manager.service":                            false,
		"postgresql@15-main.service":                            false,
		"postgresql@.service":                                   false,
		"postgresql@1000.service":                               false,
	} {
		if got := isRunner("postgresql", unit); got != want {
			t.Errorf("isRunner(%s) = %v", unit, got)
		}
	}
}
