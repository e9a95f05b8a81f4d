package hint

import (
	"errors"
	"fmt"
	"testing"
)

func TestSplit(t *testing.T) {
	stopped := Add(errors.New("docker.service is stopped"), "run systemctl start %s", "docker")
	for _, test := range []struct {
		err          error
		message, way string
	}{
		{errors.New("a; b"), "a; b", ""},
		{stopped, "docker.service is stopped", "run systemctl start docker"},
		{fmt.Errorf("start: %w, and then: stop: %w", stopped, stopped), "start: docker.service is stopped, and then: stop: docker.service is stopped", "run systemctl start docker"},
		{fmt.Errorf("web: %w (waited 20s)", stopped), "web: docker.service is stopped (waited 20s)", "run systemctl start docker"},
	} {
		if message, way := Split(test.err); message != test.message || way != test.way {
			t.Errorf("Split(%q) = %q, %q", test.err, message, way)
		}
	}
	if Add(nil, "x") != nil {
		t.Error("no error became one")
	}
}
