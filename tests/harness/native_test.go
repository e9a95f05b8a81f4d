package harness

import "testing"

func TestSeccompProbe(t *testing.T) {
	if err := trySeccomp(); err != nil {
		t.Log(err) // a property of the host
	}
}
