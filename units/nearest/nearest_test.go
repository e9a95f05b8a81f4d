package nearest

import "testing"

func TestTo(t *testing.T) {
	known := []string{"port", "address", "health_check", "drain_timeout", "until"}
	for name, want := range map[string]string{
		"prot": "port", "Port": "port", "adress": "address", "healthCheck": "health_check", "drain-timeout": "drain_timeout",
		"util": "until", "part": "port", "parts": "", "x": "", "": "",
		"a name that is longer than any that was meant, port": "",
	} {
		if got := To(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
