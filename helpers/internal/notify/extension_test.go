package notify

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// systemd is asked for the same time again whenever it reloads, until that has passed.
func TestExtensionOutlastsReloads(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "generator")
	sent := make(chan string, 100)
	e := &extension{send: func(state string) { sent <- state }, folder: folder, every: time.Millisecond}
	e.set(time.Hour)
	e.set(time.Minute) // less than before changes nothing
	if len(sent) > 0 {
		t.Errorf("%q before any reload", <-sent)
	}
	for range 3 {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		state := <-sent
		if _, err := time.ParseDuration(state[len("EXTEND_TIMEOUT_USEC="):] + "us"); err != nil || len(state) != len("EXTEND_TIMEOUT_USEC=3599000000") {
			t.Errorf("got %q; want almost an hour", state)
		}
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		<-sent
	}
	e.mu.Lock()
	e.until = time.Now()
	e.mu.Unlock()
	for watching := true; watching; {
		e.mu.Lock()
		watching = e.watching
		e.mu.Unlock()
	}
	if len(sent) > 0 {
		t.Errorf("%q after its time", <-sent)
	}
}
