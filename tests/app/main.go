// Command app is the application that the machine tests deploy: an HTTP server
// whose start, health, speed, death and shutdown are set by its environment.
//
//	APP_REVISION=1        sent in the X-Revision header and in the body; X-Client
//	                      is the address that the request came from
//	PORT=80               listened on
//	APP_START_DELAY=1s    passes before it listens
//	APP_HEALTH=ok         or never: every answer but those of /slow is a 503;
//	                      or after=3s: so for the first 3s of listening
//	APP_SLOW=200ms        passes before each answer
//	APP_EXIT_AT_ONCE=1    exits before it listens
//	APP_EXIT_AFTER=800ms  exits that long after it began to listen
//	APP_EXIT_STATUS=3     exit status of the two above, and of fail (1 when unset)
//	APP_LAST_LINE=…       printed before the exit of the two above
//	APP_SHUTDOWN=graceful what SIGTERM does: graceful answers what was asked;
//	                      at-once exits; fail exits with APP_EXIT_STATUS;
//	                      ignore is deaf to it
//
// SIGUSR1 makes it unhealthy: every answer but those of /slow is a 503, until SIGUSR2.
//
// A datagram to PORT is answered by one, as if it were a GET of /.
//
// GET /slow?for=8s answers after 8 seconds. Everything else is answered at once. What
// has an X-Request-Id is printed with it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	terminate := make(chan os.Signal, 8)
	signal.Notify(terminate, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	os.Exit(run(os.Getenv, os.Stdout, terminate))
}

// settings is the environment, parsed.
type settings struct {
	revision, port, health, shutdown, lastLine string
	startDelay, slow, exitAfter, healthyAfter  time.Duration
	exitAtOnce                                 bool
	exitStatus                                 int
}

func parse(getenv func(string) string) (settings, error) {
	var problems []error
	text := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	duration := func(name, value string) time.Duration {
		if value == "" {
			return 0
		}
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			problems = append(problems, fmt.Errorf("%s: not a duration: %q", name, value))
		}
		return d
	}
	s := settings{
		revision:   text("APP_REVISION", "none"),
		port:       text("PORT", "80"),
		health:     text("APP_HEALTH", "ok"),
		shutdown:   text("APP_SHUTDOWN", "graceful"),
		lastLine:   text("APP_LAST_LINE", "exiting as told"),
		startDelay: duration("APP_START_DELAY", getenv("APP_START_DELAY")),
		slow:       duration("APP_SLOW", getenv("APP_SLOW")),
		exitAfter:  duration("APP_EXIT_AFTER", getenv("APP_EXIT_AFTER")),
		exitAtOnce: getenv("APP_EXIT_AT_ONCE") != "",
	}
	if after, ok := strings.CutPrefix(s.health, "after="); ok {
		s.health, s.healthyAfter = "ok", duration("APP_HEALTH", after)
	}
	if s.health != "ok" && s.health != "never" {
		problems = append(problems, fmt.Errorf("APP_HEALTH: not ok, never or after=DURATION: %q", s.health))
	}
	if !slices.Contains([]string{"graceful", "at-once", "fail", "ignore"}, s.shutdown) {
		problems = append(problems, fmt.Errorf("APP_SHUTDOWN: not graceful, at-once, fail or ignore: %q", s.shutdown))
	}
	var err error
	if s.exitStatus, err = strconv.Atoi(text("APP_EXIT_STATUS", "1")); err != nil {
		problems = append(problems, fmt.Errorf("APP_EXIT_STATUS: not a number: %q", getenv("APP_EXIT_STATUS")))
	}
	return s, errors.Join(problems...)
}

// run serves until it is told to stop, and returns the exit status.
func run(getenv func(string) string, out io.Writer, terminate <-chan os.Signal) int {
	s, err := parse(getenv)
	if err != nil {
		fmt.Fprintf(out, "app: %v\n", err)
		return 2
	}
	log := func(format string, args ...any) {
		fmt.Fprintf(out, "app %s: %s\n", s.revision, fmt.Sprintf(format, args...))
	}
	log("starting")
	if s.exitAtOnce {
		log("%s", s.lastLine)
		return s.exitStatus
	}
	for delay := time.After(s.startDelay); ; {
		select {
		case <-delay:
		case sig := <-terminate:
			if s.shutdown == "ignore" || sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2 {
				log("%s, ignored", sig)
				continue
			}
			log("%s while starting, exiting", sig)
			return 0
		}
		break
	}
	listener, err := net.Listen("tcp", ":"+s.port)
	if err != nil {
		log("%v", err)
		return 1
	}
	datagrams, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		log("%v", err)
		return 1
	}
	go s.answerDatagrams(datagrams)
	log("listening on %s", listener.Addr())
	var unhealthy atomic.Bool
	server := &http.Server{Handler: s.handler(time.Now(), &unhealthy, log)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var exit <-chan time.Time
	if s.exitAfter > 0 {
		exit = time.After(s.exitAfter)
	}
	for {
		select {
		case err := <-served:
			log("%v", err)
			return 1
		case <-exit:
			log("%s", s.lastLine)
			server.Close()
			return s.exitStatus
		case sig := <-terminate:
			if sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2 {
				unhealthy.Store(sig == syscall.SIGUSR1)
				log("%s", sig)
				continue
			}
			switch s.shutdown {
			case "ignore":
				log("%s, ignored", sig)
			case "at-once":
				log("%s, exiting at once", sig)
				server.Close()
				return 0
			case "fail":
				log("%s, failing", sig)
				server.Close()
				return s.exitStatus
			default:
				log("%s, shutting down gracefully", sig)
				if err := server.Shutdown(context.Background()); err != nil {
					log("%v", err)
					return 1
				}
				log("every request was answered, exiting")
				return 0
			}
		}
	}
}

// answerDatagrams answers each datagram, until the socket is closed.
func (s settings) answerDatagrams(socket net.PacketConn) {
	for request := make([]byte, 1<<16); ; {
		_, from, err := socket.ReadFrom(request)
		if err != nil {
			return
		}
		go func() {
			time.Sleep(s.slow)
			body := "revision " + s.revision + "\n"
			_, _ = fmt.Fprintf(writerTo{socket, from}, "HTTP/1.1 200 OK\r\nX-Revision: %s\r\nContent-Length: %d\r\n\r\n%s", s.revision, len(body), body)
		}()
	}
}

// writerTo writes datagrams to an address.
type writerTo struct {
	net.PacketConn
	to net.Addr
}

func (w writerTo) Write(datagram []byte) (int, error) { return w.WriteTo(datagram, w.to) }

// handler answers the requests of an application that began to listen at start.
func (s settings) handler(start time.Time, unhealthy *atomic.Bool, log func(format string, args ...any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Revision", s.revision)
		if client, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			w.Header().Set("X-Client", client)
		}
		if id := r.Header.Get("X-Request-Id"); id != "" {
			log("request %q", id)
		}
		wait, status := s.slow, http.StatusOK
		if r.URL.Path == "/slow" {
			d, err := time.ParseDuration(r.URL.Query().Get("for"))
			if err != nil || d < 0 || d > 5*time.Minute {
				http.Error(w, "for: not a duration up to 5m", http.StatusBadRequest)
				return
			}
			wait += d
		} else if s.health == "never" || time.Since(start) < s.healthyAfter || unhealthy.Load() {
			status = http.StatusServiceUnavailable
		}
		// Also for a client that has sent everything and closed its side: net/http takes
		// it for one that has gone.
		time.Sleep(wait)
		w.WriteHeader(status)
		fmt.Fprintf(w, "revision %s\n", s.revision)
	})
}
