package harness

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// EmptyRegistry is a registry that has no image. It returns its address, host:port,
// and lives as long as the test.
func EmptyRegistry(t testing.TB) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v2/" {
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}`)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
