package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/notify"
)

// What docker does to a running container, as it reports it.
var (
	restart = []string{"start", "kill", "die", "stop", "start", "restart"}
	kill    = []string{"start", "kill", "die"}
	death   = []string{"start", "die"}
)

func TestTakeOver(t *testing.T) {
	for _, test := range []struct {
		name           string
		told           [][]string
		record         string // where the container was
		taken, removed bool
		err            string
	}{
		{"restarted", [][]string{restart, death}, "172.17.0.2", true, false, "web: exited with status 3"},
		{"restarted twice", [][]string{restart, restart, death}, "172.17.0.2", true, false, "web: exited with status 3"},
		{"restarted before that is looked at", [][]string{death}, "172.17.0.2", true, false, "web: exited with status 3"},
		{"restarted at another address", [][]string{restart}, "172.17.0.9", false, true,
			"web: docker has restarted the container, and its address has changed"},
		{"killed", [][]string{kill}, "172.17.0.2", false, false, "web: exited with status 3"},
		{"ended by itself", [][]string{death}, "172.17.0.2", false, false, "web: exited with status 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &daemon{t: t, exitCode: 3, told: test.told, address: "172.17.0.2", again: strings.HasPrefix(test.name, "restarted before")}
			d.serve()
			path := filepath.Join(t.TempDir(), "web.env")
			if err := (record{"web", "0123", test.record, ""}).write(path); err != nil {
				t.Fatal(err)
			}
			patience := time.Minute
			var stderr bytes.Buffer
			w := command.World{Stdout: io.Discard, Stderr: &stderr, Env: func(string) (string, bool) { return "", false }, Notify: notify.Notifier{}}
			r := &runner{w: w, o: &options{name: "web", record: path, patience: &patience}}
			err := r.end(context.Background(), "0123", nil, nil)
			if fmt.Sprint(err) != test.err {
				t.Errorf("got %v; want %s", err, test.err)
			}
			if taken := bytes.Contains(stderr.Bytes(), []byte("it is taken over")); taken != test.taken {
				t.Errorf("taken over: %t, want %t", taken, test.taken)
			}
			if removed := slices.Contains(d.requests, "DELETE /containers/0123"); removed != test.removed {
				t.Errorf("removed: %t, want %t", removed, test.removed)
			}
		})
	}
}
