package main

import (
	"net/http"
	"runtime/debug"

	"service-manager/helpers/internal/docker"
)

// slim gives back the memory that the start took. There is one of this process
// for each container, waiting for days.
func slim(d *docker.Daemon) {
	if t, ok := d.HTTPClient().Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	d.Close()
	debug.FreeOSMemory()
}
