package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/docker"
	"service-manager/helpers/internal/notify"
	"service-manager/helpers/internal/process"
)

// daemon stands in for a Docker daemon with one container, to fail where a real
// one does not on demand.
type daemon struct {
	t        *testing.T
	left     bool       // a container of that name is there already
	startErr string     // what starting it fails with
	firm     bool       // it is not removed
	silent   bool       // the event of its end is lost
	ends     chan bool  // closed when it ends, nil if it ends at once
	pid      int        // of its first process, at the first look only
	exitCode int        // how it has ended by the time that it is looked at
	onCreate func()     // called when it is created
	told     [][]string // what happened to it, for each time that it is asked
	address  string     // where it runs after "start" was told
	again    bool       // it was told
	mu       sync.Mutex
	requests []string
	orphan   bool   // a container of a killed helper is there, which was to do the same
	asked    string // the label that containers were asked for
	overlaps bool   // the container was created beside that
	vanish   string // the request at which it goes away
	hang     string // the request that it never answers
	onHang   func() // called at that, unless it is nil
	server   *http.Server
}

var apiVersion = regexp.MustCompile(`^/v[0-9.]+`)

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	w.Header().Set("Api-Version", "1.41")
	request := r.Method + " " + path
	if request == d.hang {
		if d.onHang != nil {
			d.onHang()
		}
		<-r.Context().Done()
		return
	}
	if path != "/_ping" {
		d.mu.Lock()
		d.requests = append(d.requests, request)
		d.mu.Unlock()
	}
	if request == d.vanish {
		d.server.Close()
		return
	}
	reply := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	message := func(text string) any { return map[string]string{"message": text} }
	switch request {
	case "HEAD /_ping":
	case "GET /info":
		reply(200, map[string]string{"CgroupDriver": "systemd"})
	case "GET /images/img/json":
		reply(200, map[string]string{})
	case "GET /images/none/json":
		reply(404, message("No such image: none"))
	case "POST /images/create":
		fmt.Fprintln(w, `{"status":"Downloading","id":"1a2b","progressDetail":{"current":1,"total":2}}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "GET /containers/json":
		list := []any{}
		if d.orphan {
			list = append(list, map[string]any{"Id": "0rphan", "Names": []string{"/web.2"}})
		}
		d.asked = r.URL.Query().Get("filters")
		reply(200, list)
	case "DELETE /containers/0rphan":
		d.orphan = false
		w.WriteHeader(204)
	case "POST /containers/create":
		d.overlaps = d.orphan
		if d.left {
			reply(409, message(`Conflict. The container name "/web" is already in use by container "0ld". You have to remove (or rename) that container to be able to reuse that name.`))
			return
		}
		if d.onCreate != nil {
			d.onCreate()
		}
		reply(201, map[string]string{"Id": "0123"})
	case "GET /containers/web/json":
		reply(200, map[string]string{"Id": "0ld", "Name": "/web"})
	case "DELETE /containers/0ld":
		d.left = false
		w.WriteHeader(204)
	case "DELETE /containers/0123":
		if d.firm {
			reply(500, message("device or resource busy"))
			return
		}
		w.WriteHeader(204)
	case "POST /containers/0123/start":
		if d.startErr != "" {
			reply(500, message(d.startErr))
			return
		}
		w.WriteHeader(204)
	case "POST /containers/0123/stop":
		d.silent = false
		w.WriteHeader(204)
	case "POST /containers/0123/wait":
		if d.silent {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if d.ends != nil {
			<-d.ends
		}
		reply(200, map[string]int{"StatusCode": d.exitCode})
	case "GET /containers/0123/json":
		reply(200, map[string]any{
			"Id": "0123", "Name": "/web", "Config": map[string]any{},
			"State":           map[string]any{"Status": "exited", "ExitCode": d.exitCode, "Running": d.pid != 0 || d.again || d.silent, "Pid": d.pid},
			"NetworkSettings": map[string]any{"Networks": map[string]any{"bridge": map[string]any{"IPAddress": d.address}}},
		})
		d.pid, d.again = 0, false
	case "GET /events":
		told := death
		if len(d.told) > 0 {
			told, d.told = d.told[0], d.told[1:]
		}
		for i, action := range told {
			d.again = d.again || i > 0 && action == "start"
			json.NewEncoder(w).Encode(map[string]any{"Type": "container", "Action": action, "Actor": map[string]any{"ID": "0123"}})
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "GET /containers/0123/logs":
		io.WriteString(stdcopy.NewStdWriter(w, stdcopy.Stderr), "2026-11-22T15:56:38.2Z config not found\n")
	default:
		d.t.Errorf("unexpected request %s", request)
		w.WriteHeader(501)
	}
}

// outcome is the result of a run.
type outcome struct {
	err     error
	stderr  string
	states  []string
	removed bool
}

// serve makes the daemon answer until the test ends.
func (d *daemon) serve() {
	d.t.Helper()
	socket := filepath.Join(d.t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.server = &http.Server{Handler: d}
	go d.server.Serve(listener)
	d.t.Cleanup(func() { d.server.Close() })
	d.t.Setenv("DOCKER_HOST", "unix://"+socket)
}

func (d *daemon) run(ctx context.Context, args ...string) outcome {
	d.t.Helper()
	d.serve()
	var o outcome
	var stderr bytes.Buffer
	o.err = run(ctx, command.World{
		Args: args, Stdout: io.Discard, Stderr: &stderr,
		Env:    func(string) (string, bool) { return "", false },
		Notify: notify.To(func(state string) { o.states = append(o.states, state) }),
	})
	o.stderr = stderr.String()
	o.removed = d.got("DELETE /containers/0123")
	return o
}

// got reports whether there was that request.
func (d *daemon) got(request string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.requests, request)
}

func TestRunStartFails(t *testing.T) {
	d := &daemon{t: t, startErr: "driver failed programming external connectivity"}
	o := d.run(context.Background(), "run", "--name", "web", "img")
	if want := "web: start the container: driver failed programming external connectivity"; fmt.Sprint(o.err) != want {
		t.Errorf("got %v; want %s", o.err, want)
	}
	if !o.removed {
		t.Error("the container that was created is left")
	}
}

func TestRunExitsAtOnce(t *testing.T) {
	d := &daemon{t: t, exitCode: 3}
	o := d.run(context.Background(), "run", "--name", "web", "img")
	var exit *command.ExitError
	var detailed *command.DetailedError
	if !errors.As(o.err, &exit) || exit.Code != 3 || o.err.Error() != "web: exited with status 3" ||
		!errors.As(o.err, &detailed) || detailed.Detail != `"config not found"` {
		t.Errorf("got %v; want exit status 3 and the reason", o.err)
	}
	if slices.Contains(o.states, "READY=1") {
		t.Errorf("it said READY=1 of a container that had ended: %q", o.states)
	}
	if o.stderr != "web: | config not found\n" {
		t.Errorf("standard error = %q; want the container's output", o.stderr)
	}

	d = &daemon{t: t, exitCode: 3}
	o = d.run(context.Background(), "run", "--name", "web", "--unit", "web.service", "img")
	if o.stderr != "" {
		t.Errorf("standard error = %q; want nothing, the journal has it", o.stderr)
	}

	d = &daemon{t: t}
	if o = d.run(context.Background(), "run", "--name", "web", "img"); o.err != nil {
		t.Errorf("a container that ended well: %v", o.err)
	}
}

func TestRunReplacesLeftover(t *testing.T) {
	d := &daemon{t: t, left: true}
	o := d.run(context.Background(), "run", "--name", "web", "img")
	if o.err != nil || !strings.Contains(o.stderr, "web: removed the container that an earlier run has left") {
		t.Errorf("got %v, %q", o.err, o.stderr)
	}
}

func TestRunStoppedWhileStarting(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{t: t, onCreate: cancel}
	o := d.run(ctx, "run", "--name", "web", "img")
	var killed *command.SignalError
	if !errors.As(o.err, &killed) || killed.Signal != unix.SIGTERM {
		t.Errorf("got %v; want the end by SIGTERM", o.err)
	}
	if !o.removed || slices.Contains(d.requests, "POST /containers/0123/start") {
		t.Errorf("want the container removed and never started; requests: %q", d.requests)
	}
}

// What is left of an interrupted start is reported.
func TestRunStoppedAndLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{t: t, onCreate: cancel, firm: true}
	o := d.run(ctx, "run", "--name", "web", "img")
	if want := "web: context canceled, and then: remove container 0123: device or resource busy"; fmt.Sprint(o.err) != want {
		t.Errorf("got %v; want %s", o.err, want)
	}
}

func TestRunStoppedWithoutDaemon(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	ctx, cancel := context.WithCancel(context.Background())
	err := run(ctx, command.World{
		Args: []string{"run", "--name", "web", "img"}, Stdout: io.Discard, Stderr: io.Discard,
		Env:    func(string) (string, bool) { return "", false },
		Notify: notify.To(func(string) { cancel() }), // it waits for the daemon
	})
	if !errors.As(err, new(*command.SignalError)) {
		t.Errorf("got %v; want the end by SIGTERM", err)
	}
}

// A process that has ended before it could be opened never was ready.
func TestRunEndsBeforeItIsSeen(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, exitCode: 3, pid: gone.Process.Pid}
	o := d.run(context.Background(), "run", "--name", "web", "img")
	if o.err == nil || o.err.Error() != "web: exited with status 3" || slices.Contains(o.states, "READY=1") {
		t.Errorf("got %v, %q; want its end and no READY=1", o.err, o.states)
	}
}

// When a step of the start fails, systemd stops the container. How that ends is no
// reason, and never the host's failure.
func TestEndAsTold(t *testing.T) {
	for exitCode, want := range map[int]int{2: 2, command.TempFail: 1} {
		d := &daemon{t: t, exitCode: exitCode}
		d.serve()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		patience := time.Minute
		var statuses []string
		w := command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false },
			Notify: notify.To(func(state string) {
				if strings.HasPrefix(state, "STATUS=") {
					statuses = append(statuses, state)
				}
			})}
		r := &runner{w: w, o: &options{name: "web", patience: &patience}}
		err := r.end(ctx, "0123", nil, nil)
		if code := command.Report("sm-docker-run", w, err); code != want || len(statuses) > 0 {
			t.Errorf("got %v, status %d instead of %d, and said %q", err, code, want, statuses)
		}
	}
}

// A daemon that does not tell how a container has ended does not keep its unit up.
func TestEndWithSilentDaemon(t *testing.T) {
	end := func(ctx context.Context, patience time.Duration, notifier notify.Notifier) (*daemon, error) {
		d := &daemon{t: t, silent: true}
		d.serve()
		p, err := process.Open(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		r := &runner{w: command.World{Stderr: io.Discard, Notify: notifier}, o: &options{name: "web", patience: &patience}}
		return d, r.end(ctx, "0123", p, nil)
	}
	_, err := end(context.Background(), 100*time.Millisecond, notify.Notifier{})
	if want := `web: its process has ended, and the Docker daemon did not say how within 100ms; run docker inspect web`; fmt.Sprint(err) != want {
		t.Errorf("got %v; want %s", err, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	d, err := end(ctx, time.Hour, notify.Notifier{})
	if err != nil || !slices.Contains(d.requests, "POST /containers/0123/stop") {
		t.Errorf("when it is to stop meanwhile: %v after %q; want the container stopped", err, d.requests)
	}
}

// What the host lacks is distinguished from what the container or its definition does.
func TestAbout(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
	}{
		{errors.New("pull image app:1: dial tcp: connection refused"), command.TempFail},
		{fmt.Errorf("write the record: %w", unix.ENOSPC), command.TempFail},
		{errors.New("pull image app:1: not found"), 1},
		{&command.ExitError{Code: 3, Err: errors.New(`exited with status 3: "database: connection refused"`)}, 3},
	} {
		w := command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }}
		if code := command.Report("sm-docker-run", w, about("web", test.err)); code != test.code {
			t.Errorf("%v: status %d, want %d", test.err, code, test.code)
		}
	}
}

// A daemon that goes away is the host's failure, whatever it was asked for.
func TestDaemonVanishes(t *testing.T) {
	for _, request := range []string{
		"GET /images/none/json", "POST /images/create", "POST /containers/create", "POST /containers/0123/start", "GET /containers/0123/json",
	} {
		for _, verb := range []string{"run", "once"} {
			t.Run(verb+" "+request, func(t *testing.T) {
				args := []string{verb, "--name", "web", "--docker-timeout", "50ms"}
				if verb == "once" {
					args = append(args, "--done", filepath.Join(t.TempDir(), "done"))
				}
				d := &daemon{t: t, vanish: request}
				image := "img"
				if strings.Contains(request, "images") {
					image = "none"
				}
				o := d.run(t.Context(), append(args, image)...)
				w := command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }}
				if code := command.Report("sm-docker-run", w, o.err); code != command.TempFail || !d.got(request) {
					t.Errorf("%v: status %d, want %d", o.err, code, command.TempFail)
				}
			})
		}
	}
}

// What ends a pull from outside is not the fault of the revision that it is for.
func TestPullIsEnded(t *testing.T) {
	for _, request := range []string{"HEAD /_ping", "GET /images/none/json", "POST /images/create"} {
		t.Run(request, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			d := &daemon{t: t, hang: request, onHang: end}
			o := d.run(ctx, "pull", "--name", "web", "none")
			w := command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }}
			if code := command.Report("sm-docker-run", w, o.err); code != command.TempFail {
				t.Errorf("%v: status %d, want %d", o.err, code, command.TempFail)
			}
		})
	}
}

// A daemon that hangs while a container starts is the host's failure, too.
func TestStartHangs(t *testing.T) {
	for _, request := range []string{"GET /images/img/json", "POST /containers/create", "POST /containers/0123/start", "GET /containers/0123/json"} {
		t.Run(request, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			if strings.HasPrefix(request, "GET /images") {
				end = func() {} // it need not even be told to stop
			}
			d := &daemon{t: t, hang: request, onHang: end}
			o := d.run(ctx, "run", "--name", "web", "--docker-timeout", "50ms", "img")
			w := command.World{Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }}
			if code := command.Report("sm-docker-run", w, o.err); code != command.TempFail {
				t.Errorf("%v: status %d, want %d", o.err, code, command.TempFail)
			}
		})
	}
}

func TestPullStalls(t *testing.T) {
	(&daemon{t: t}).serve()
	w := command.World{Stdout: io.Discard, Stderr: io.Discard, Env: func(string) (string, bool) { return "", false }}
	d, err := docker.Connect(t.Context(), w.Notify, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = ensureImage(t.Context(), w, d, "none", "missing", 50*time.Millisecond)
	if want := "pull image none:latest: no progress for 50ms"; fmt.Sprint(err) != want {
		t.Errorf("got %v; want %s", err, want)
	}
	if code := command.Report("sm-docker-run", w, err); code != command.TempFail {
		t.Errorf("status %d, want %d", code, command.TempFail)
	}
}

func TestRunPullNever(t *testing.T) {
	d := &daemon{t: t}
	o := d.run(context.Background(), "run", "--name", "web", "--pull", "never", "none")
	if want := "web: image none:latest is not here, and --pull=never; run docker pull none:latest"; fmt.Sprint(o.err) != want {
		t.Errorf("got %v; want %s", o.err, want)
	}
	o = d.run(context.Background(), "pull", "--name", "web", "Not/An_Image")
	if o.err == nil || !strings.HasPrefix(o.err.Error(), `web: image "Not/An_Image": `) {
		t.Errorf("got %v; want the image refused", o.err)
	}
}
