package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
)

// A unit's next command has to run even if the daemon hangs.
func TestRemoveWithHangingDaemon(t *testing.T) {
	const silent = "web: the Docker daemon at unix://SOCKET does not answer (waited 50ms); check DOCKER_HOST, which names it; the container is left as it is; run docker rm -f web, or start its unit again"
	for _, test := range []struct {
		hangs             string
		patience, removal time.Duration
		want              string
	}{
		{"HEAD /_ping", 50 * time.Millisecond, time.Hour, silent},
		{"GET /containers/web/json", 50 * time.Millisecond, time.Hour, "web: look for container web: " + strings.TrimPrefix(silent, "web: ")},
		{"DELETE /containers/0ld", time.Hour, 50*time.Millisecond - time.Hour,
			"web: the Docker daemon did not remove it within 50ms; the container is left as it is; run docker rm -f web, or start its unit again"},
	} {
		t.Run(test.hangs, func(t *testing.T) {
			d := &daemon{t: t, hang: test.hangs}
			d.serve()
			w := command.World{
				Args: []string{"--name", "web", "--docker-timeout", test.patience.String()}, Stdout: io.Discard, Stderr: io.Discard,
				Env: func(string) (string, bool) { return "", false },
			}
			err := remove(t.Context(), w, test.removal)
			want := strings.ReplaceAll(test.want, "unix://SOCKET", os.Getenv("DOCKER_HOST"))
			if fmt.Sprint(err) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if code := command.Report("sm-docker-run", w, err); code != command.TempFail {
				t.Errorf("status %d, want %d", code, command.TempFail)
			}
		})
	}
}
