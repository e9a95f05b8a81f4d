package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"service-manager/helpers/internal/notify"
)

// answer is what a daemon says to a request. It replaces a real daemon: these tests are
// about failures that a real one does not produce on demand.
type answer func(method, path string) (status int, body any)

var version = regexp.MustCompile(`^/v[0-9.]+`)

// serve answers requests at a socket until the test ends.
func serve(t *testing.T, socket string, a answer) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Api-Version", "1.41")
		if r.URL.Path == "/_ping" {
			return
		}
		status, body := a(r.Method, version.ReplaceAllString(r.URL.Path, ""))
		w.WriteHeader(status)
		if text, ok := body.(string); ok {
			body = map[string]string{"message": text}
		}
		if body != nil {
			json.NewEncoder(w).Encode(body)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

func dial(t *testing.T, a answer, patience time.Duration) *Daemon {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, a)
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	d, err := Connect(context.Background(), notify.Notifier{}, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestConnectWaits(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	var once sync.Once
	var states []string
	n := notify.To(func(state string) {
		states = append(states, state)
		once.Do(func() { serve(t, socket, nil) })
	})
	d, err := Connect(context.Background(), n, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if want := "STATUS=waiting for the Docker daemon at unix://" + socket; !slices.Contains(states, want) {
		t.Errorf("notified %q; want %q", states, want)
	}
	if got := d.ClientVersion(); got != "1.41" {
		t.Errorf("the client speaks version %s; want the daemon's, 1.41", got)
	}
}

func TestConnectFails(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	_, err := Connect(context.Background(), notify.Notifier{}, 10*time.Millisecond)
	want := fmt.Sprintf("the Docker daemon at unix://%s does not answer (waited 10ms); check DOCKER_HOST, which names it", socket)
	if err == nil || err.Error() != want {
		t.Errorf("without a socket: %v; want %s", err, want)
	}
	t.Setenv("DOCKER_HOST", "tcp://daemon.invalid:2376")
	// Longer than a busy host takes to ask for the name.
	_, err = Connect(context.Background(), notify.Notifier{}, time.Second)
	if err == nil || !strings.Contains(err.Error(), "(waited 1s: lookup daemon.invalid") {
		t.Errorf("with a host that does not exist: %v; want the reason", err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+socket)

	// Accepts and says nothing, like the socket unit of a daemon that hangs.
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, err = Connect(context.Background(), notify.Notifier{}, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "does not answer (waited 50ms)") {
		t.Errorf("with a silent daemon: %v", err)
	}

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := notify.To(func(string) { cancel(cause) })
	t.Setenv("DOCKER_HOST", "unix://"+socket+"-none")
	if _, err = Connect(ctx, stop, time.Hour); err != cause {
		t.Errorf("when stopped: %v; want the cause", err)
	}
}

// A daemon that broke off after hours has been away since then, not since an earlier
// absence.
func TestRetryCountsFromTheLastAnswer(t *testing.T) {
	const patience = 200 * time.Millisecond
	d := dial(t, nil, patience)
	calls := 0
	err := d.Retry(context.Background(), func() error {
		calls++
		switch calls {
		case 1:
			return io.EOF
		case 2, 3:
			time.Sleep(patience + time.Millisecond)
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	if err != nil || calls != 4 {
		t.Errorf("Retry = %v after %d calls; want success with the fourth", err, calls)
	}
	err = d.Retry(context.Background(), func() error { return io.EOF })
	if err == nil || !strings.Contains(err.Error(), "does not answer (waited 200ms") {
		t.Errorf("Retry of what always fails = %v", err)
	}
}

// The daemon takes "cafe" for the container whose id begins so.
func TestFindIsExact(t *testing.T) {
	d := dial(t, func(method, path string) (int, any) {
		return http.StatusOK, map[string]any{"Id": "cafe0123456789", "Name": "/other"}
	}, time.Second)
	if c, found, err := d.Find(context.Background(), "cafe"); found || err != nil {
		t.Errorf("Find = %v, %v, %v; want nothing", c.Name, found, err)
	}
	if removed, err := d.RemoveNamed(context.Background(), "cafe"); removed || err != nil {
		t.Errorf("RemoveNamed = %v, %v; want nothing removed", removed, err)
	}
}

func TestRemove(t *testing.T) {
	busy := answer(func(string, string) (int, any) {
		return http.StatusConflict, "removal of container 0123 is already in progress"
	})
	for _, test := range []struct {
		name    string
		answers []answer
		wantErr string
	}{
		{"gone", []answer{func(string, string) (int, any) { return http.StatusNotFound, "No such container: 0123" }}, ""},
		{"done", []answer{func(string, string) (int, any) { return http.StatusNoContent, nil }}, ""},
		{"being removed, then gone", []answer{busy, busy, func(string, string) (int, any) { return http.StatusNotFound, "No such container: 0123" }}, ""},
		{"impossible", []answer{func(string, string) (int, any) {
			return http.StatusInternalServerError, "driver \"overlay2\" failed to remove root filesystem: device or resource busy"
		}}, `remove container 0123456789ab: driver "overlay2" failed to remove root filesystem: device or resource busy`},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			d := dial(t, func(method, path string) (int, any) {
				if method != http.MethodDelete {
					t.Errorf("unexpected %s %s", method, path)
				}
				a := test.answers[min(calls, len(test.answers)-1)]
				calls++
				return a(method, path)
			}, time.Minute)
			err := d.Remove(context.Background(), "0123456789abcdef")
			if got := fmt.Sprint(err); err == nil && test.wantErr != "" || err != nil && got != test.wantErr {
				t.Errorf("got %v; want %q", err, test.wantErr)
			}
			if calls != len(test.answers) {
				t.Errorf("asked %d times; want %d", calls, len(test.answers))
			}
		})
	}
}

// A daemon that answers a ping may still hang when it is asked about one container.
func TestRemoveWithHangingDaemon(t *testing.T) {
	for _, test := range []struct {
		hangs  string
		limit  time.Duration // beyond the patience
		remove func(d *Daemon) error
	}{
		{http.MethodGet, 0, func(d *Daemon) error { _, err := d.RemoveNamed(t.Context(), "web"); return err }},
		{http.MethodDelete, Removal, func(d *Daemon) error { return d.Remove(t.Context(), "0123") }},
	} {
		t.Run(test.hangs, func(t *testing.T) {
			released := make(chan struct{})
			d := dial(t, func(method, path string) (int, any) {
				if method == test.hangs {
					<-released
				}
				return http.StatusNotFound, "No such container: 0123"
			}, time.Minute)
			t.Cleanup(func() { close(released) })
			d.patience = 50*time.Millisecond - test.limit
			err := test.remove(d)
			if err == nil || !strings.Contains(err.Error(), "does not answer (waited 50ms)") || !Absent(err) || !OfHost(err) {
				t.Errorf("got %v; want that the daemon does not answer", err)
			}
		})
	}
}

func TestEndedGone(t *testing.T) {
	d := dial(t, func(string, string) (int, any) { return http.StatusNotFound, "No such container: 0123" }, time.Second)
	if _, err := d.Ended(context.Background(), "0123"); err != ErrGone {
		t.Errorf("got %v; want ErrGone", err)
	}
}

func TestProcessElsewhere(t *testing.T) {
	d := dial(t, nil, time.Second)
	c := container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{ID: "0123", State: &container.State{Pid: 1}}}
	if _, err := d.Process(c); err == nil {
		t.Error("process 1 was taken for a container's")
	}
	c.State.Pid = 0
	if _, err := d.Process(c); err == nil {
		t.Error("a container without a process was given one")
	}
}

func TestReason(t *testing.T) {
	for in, want := range map[string]string{
		"Error response from daemon: manifest for nginx:9 not found: manifest unknown: manifest unknown":                                                                                                                            "manifest for nginx:9 not found: manifest unknown",
		"Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nothing/here\": stat /nothing/here: no such file or directory: unknown": `exec: "/nothing/here": stat /nothing/here: no such file or directory`,
		"Error: No such container: x":                           "No such container: x",
		"two\nlines":                                            "two lines",
		"invalid reference. See 'docker run --help'.":           "invalid reference",
		"pull access denied, or may require 'docker login': no": "pull access denied, or may require 'docker login': no",
	} {
		if got := Reason(errors.New(in)); got != want {
			t.Errorf("Reason(%q) = %q; want %q", in, got, want)
		}
	}
}

// Everyone who has the query of a URL that a registry has signed gets what it leads to.
func TestReasonWithoutQueries(t *testing.T) {
	const (
		store = "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com"
		blob  = "https://" + store + "/registry-v2/docker/registry/v2/blobs/sha256/4f/4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1/data"
		query = "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=f1baa2dd9b876aeb89efebbfc9e5d5f4%2F20251201%2Fauto%2Fs3%2Faws4_request" +
			"&X-Amz-Date=20251201T101500Z&X-Amz-Expires=1200&X-Amz-SignedHeaders=host&X-Amz-Signature=0f4c6c2b6a7c9c4fb4d1d3e7a3a7d2f1"
	)
	for _, test := range []struct{ before, url, after string }{
		{`error pulling image configuration: download failed after attempts=6: Get "`, blob, `": dial tcp: lookup ` + store + " on 127.0.0.53:53: server misbehaving"},
		{"failed to copy: httpReadSeeker: failed open: unexpected status code ", blob, ": 403 Forbidden"},
		{"(a redirect to ", "HTTPS://S3.example:9000/", ") was refused"},
		{`the proxy says \"Get `, blob, `\"`},
	} {
		got, want := Reason(errors.New(test.before+test.url+query+test.after)), test.before+test.url+"?…"+test.after
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		twice := test.before + test.url + query + test.after + ", " + test.url + query
		if got := explain(errors.New(twice), "docker.io"); strings.Contains(got, "X-Amz") {
			t.Errorf("to be read by all: %s", got)
		}
	}
	const plain = "is it there? see https://docs.docker.com/go/access-tokens/, or ask"
	if got := Reason(errors.New(plain)); got != plain {
		t.Errorf("got %s", got)
	}
}

func TestOfHost(t *testing.T) {
	for text, want := range map[string]bool{
		`Get "http://localhost:5000/v2/": dial tcp [::1]:5000: connect: connection refused`:                                                        true,
		`Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeout`:                                                                  true,
		`Get "https://registry-1.docker.io/v2/": EOF`:                                                                                              true,
		"toomanyrequests: You have reached your pull rate limit":                                                                                   true,
		"write /var/lib/docker/tmp/GetImageBlob1: no space left on device":                                                                         true,
		"received unexpected HTTP status: 503 Service Unavailable":                                                                                 true,
		"manifest for localhost:5000/big:2 not found: manifest unknown: manifest unknown":                                                          false,
		"pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied": false,
		`exec: "nope": executable file not found in $PATH`:                                                                                         false,
		"no matching manifest for linux/amd64 in the manifest list entries":                                                                        false,
	} {
		if got := OfHost(errors.New(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	if err := error(&absentError{"the Docker daemon does not answer", nil}); !OfHost(fmt.Errorf("web: %w", err)) {
		t.Error("that Docker does not answer is not the host's failure")
	}
}

func TestExplain(t *testing.T) {
	for in, want := range map[string]string{
		"manifest for localhost:5000/big:2 not found: manifest unknown: manifest unknown":                                                          "not found in the registry; check the name and tag (manifest for localhost:5000/big:2 not found: manifest unknown)",
		`Head "http://localhost:5000/v2/big/manifests/1": no basic auth credentials`:                                                               `the registry wants a login; run "docker login localhost:5000" as root (Head "http://localhost:5000/v2/big/manifests/1": no basic auth credentials)`,
		"pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied": `there is no such repository, or it needs a login; check the name, or run "docker login localhost:5000" as root (pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied)`,
		`Get "https://nope.example/v2/": dial tcp: lookup nope.example: no such host`:                                                              `the registry's name cannot be resolved; check the name and this host's DNS (Get "https://nope.example/v2/": dial tcp: lookup nope.example: no such host)`,
		`Get "http://localhost:5000/v2/": dial tcp [::1]:5000: connect: connection refused`:                                                        `Get "http://localhost:5000/v2/": dial tcp [::1]:5000: connect: connection refused`,
		"write /var/lib/docker/tmp/GetImageBlob1: no space left on device":                                                                         `no space left; run "docker image prune" (write /var/lib/docker/tmp/GetImageBlob1: no space left on device)`,
	} {
		if got := explain(errors.New(in), "localhost:5000"); got != want {
			t.Errorf("explain(%q) =\n%s; want\n%s", in, got, want)
		}
	}
}

func TestParseImage(t *testing.T) {
	const id = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for in, want := range map[string]string{
		"nginx":                "nginx:latest",
		"nginx:1.27":           "nginx:1.27",
		"docker.io/library/a1": "a1:latest",
		"r.example:5000/a/b":   "r.example:5000/a/b:latest",
		"a1@" + id:             "a1@" + id,
		id:                     id,
	} {
		got, named, err := ParseImage(in)
		if err != nil || got != want {
			t.Errorf("ParseImage(%q) = %q, %v; want %q", in, got, err, want)
		}
		if (named == nil) != (in == id) {
			t.Errorf("ParseImage(%q): named = %v", in, named)
		}
	}
	for _, in := range []string{"", "Nginx", "a b", "a:", "-x"} {
		if _, _, err := ParseImage(in); err == nil {
			t.Errorf("ParseImage(%q) succeeds", in)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct{ name, mode, networks, ip4, ip6 string }{
		{"the default network", "default", `{"bridge":{"IPAddress":"172.17.0.2"}}`, "172.17.0.2", ""},
		{"its own of several", "b", `{"a":{"IPAddress":"10.0.0.1"},"b":{"IPAddress":"10.0.0.2","GlobalIPv6Address":"fd00::2"}}`, "10.0.0.2", "fd00::2"},
		{"several, none its own", "default", `{"z":{"IPAddress":"10.0.0.1"},"b":{"IPAddress":"10.0.0.2"}}`, "10.0.0.2", ""},
		{"the host's", "host", `{"host":{"IPAddress":""}}`, "", ""},
		{"none", "none", `{}`, "", ""},
	} {
		var c container.InspectResponse
		text := fmt.Sprintf(`{"HostConfig":{"NetworkMode":%q},"NetworkSettings":{"Networks":%s}}`, test.mode, test.networks)
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if ip4, ip6 := Addresses(c); ip4 != test.ip4 || ip6 != test.ip6 {
			t.Errorf("%s: %q, %q; want %q, %q", test.name, ip4, ip6, test.ip4, test.ip6)
		}
	}
}
