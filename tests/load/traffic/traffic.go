// Package traffic sends HTTP requests at a set rate and counts every one that is
// lost, by how it was lost. It handles its connections itself: net/http's client
// retries in silence what this has to count.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"
)

// MaxDuration is the longest that one run may take.
const MaxDuration = 30 * time.Minute

// maxOutstanding bounds the requests under way, for a server that answers none.
const maxOutstanding = 4000

// Options say what to send.
type Options struct {
	URL                  string        // http://IP:port/path; port 80 when there is none; or udp://, for requests that are a datagram each
	ConnectionsPerSecond float64       // each with its own connection, closed by the client
	KeepAlive            int           // connections that keep requesting
	KeepAlivePause       time.Duration // between two requests of one of these
	SlowPerSecond        float64       // requests of /slow?for=SlowFor
	SlowFor              time.Duration
	Post                 bool          // POST, which no client may send again by itself, instead of GET
	HalfClose            bool          // who has a connection for one request closes it for writing behind it
	For                  time.Duration // the run's length
	ConnectTimeout       time.Duration
	AnswerTimeout        time.Duration // on top of SlowFor for slow requests
	Progress             io.Writer     // told every second, unless nil
	Begun                func()        // called at the first answer, unless nil
}

func (o Options) check() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "udp" || u.Hostname() == "":
		return nil, fmt.Errorf("url %q: not http://HOST:PORT/… or udp://HOST:PORT/…", o.URL)
	case u.Scheme == "udp" && o.HalfClose:
		return nil, errors.New("a datagram has no connection that could be closed for writing")
	case o.For <= 0 || o.For > MaxDuration:
		return nil, fmt.Errorf("for %s: not between 0 and %s", o.For, MaxDuration)
	case o.ConnectionsPerSecond < 0 || o.ConnectionsPerSecond > 5000 || o.SlowPerSecond < 0 || o.SlowPerSecond > 1000:
		return nil, errors.New("rate out of range: at most 5000 connections and 1000 slow requests a second")
	case o.KeepAlive < 0 || o.KeepAlive > 1000:
		return nil, fmt.Errorf("keep-alive %d: not between 0 and 1000", o.KeepAlive)
	case o.ConnectTimeout <= 0 || o.AnswerTimeout <= 0:
		return nil, errors.New("a time-out is not positive")
	case o.ConnectionsPerSecond == 0 && o.KeepAlive == 0 && o.SlowPerSecond == 0:
		return nil, errors.New("nothing to send")
	}
	if u.Port() == "" {
		u.Host += ":80"
	}
	return u, nil
}

// run is one run of traffic.
type run struct {
	Options
	url, slow *url.URL
	recorder  recorder
	requests  sync.WaitGroup
	slots     chan struct{} // one for each outstanding request
}

// Run sends requests until the time is up or ctx ends, waits for those under
// way, and reports. The error says that the options are wrong.
func Run(ctx context.Context, o Options) (Report, error) {
	u, err := o.check()
	if err != nil {
		return Report{}, err
	}
	r := &run{Options: o, url: u, slots: make(chan struct{}, maxOutstanding)}
	r.slow = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/slow", RawQuery: "for=" + o.SlowFor.String()}
	r.recorder.start, r.recorder.begun = time.Now(), o.Begun
	r.recorder.report = Report{URL: o.URL, Started: r.recorder.start.Round(0), Revisions: map[string]*Revision{}}
	limited, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()

	var senders sync.WaitGroup
	inGroup(&senders, func() { r.atRate(limited, o.ConnectionsPerSecond, "new", u, 0) })
	inGroup(&senders, func() { r.atRate(limited, o.SlowPerSecond, "slow", r.slow, o.SlowFor) })
	for range o.KeepAlive {
		inGroup(&senders, func() { r.keepAlive(limited) })
	}
	done := make(chan struct{})
	go func() {
		senders.Wait()
		r.requests.Wait()
		close(done)
	}()
	r.watch(done)
	report := r.recorder.snapshot()
	report.Stopped = ctx.Err() != nil
	return report, nil
}

// inGroup runs f in a goroutine that the group waits for.
func inGroup(group *sync.WaitGroup, f func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		f()
	}()
}

// watch waits for done, and shows the progress until then.
func (r *run) watch(done <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if r.Progress != nil {
				fmt.Fprintln(r.Progress, r.recorder.snapshot())
			}
		}
	}
}

// atRate starts requests at a rate, each on time whatever became of those before
// it: a client that waits for a slow server would send it less, and so hide how
// many it loses.
func (r *run) atRate(ctx context.Context, perSecond float64, traffic string, u *url.URL, asked time.Duration) {
	if perSecond == 0 {
		return
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		timer.Reset(time.Until(start.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case r.slots <- struct{}{}:
			inGroup(&r.requests, func() {
				r.once(traffic, u, asked)
				<-r.slots
			})
		default:
			r.recorder.skipped(traffic)
		}
	}
}

// once sends one request on a connection of its own. The client closes first,
// so that it is the one who keeps the port in TIME_WAIT.
func (r *run) once(traffic string, u *url.URL, asked time.Duration) {
	r.recorder.sent(traffic)
	began := time.Now()
	c, loss := dial(u, r.ConnectTimeout)
	if loss != nil {
		r.recorder.lost(traffic, loss, began)
		return
	}
	defer c.Close()
	c.halfClose, c.post = r.HalfClose, r.Post
	connected := time.Since(began)
	answer, loss := c.get(u, r.AnswerTimeout+asked)
	if loss != nil {
		r.recorder.lost(traffic, loss, began)
		return
	}
	r.recorder.answered(traffic, answer.revision, connected, max(0, time.Since(began)-asked))
}

// keepAlive sends requests one after the other, on one connection for as long
// as the server keeps it.
func (r *run) keepAlive(ctx context.Context) {
	var c *connection
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for ctx.Err() == nil {
		pause := r.KeepAlivePause
		if c = r.next(c); c == nil {
			pause = max(pause, 50*time.Millisecond) // no hot loop against a dead server
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// onItsWay is longer than a request is on its way to a server that has to wait
// for an emulated processor, until the server reads it.
const onItsWay = 5 * time.Second

// next sends a request on c, or on a new connection when c is nil, and returns
// the connection for the next request, if any.
func (r *run) next(c *connection) *connection {
	const traffic = "keep-alive"
	r.recorder.sent(traffic)
	began := time.Now()
	var connected time.Duration
	connect := func() *lossError {
		start := time.Now()
		var loss *lossError
		if c, loss = dial(r.url, r.ConnectTimeout); c != nil {
			c.post = r.Post
		}
		connected = time.Since(start)
		return loss
	}
	reused := c != nil
	asked := time.Now()
	var answer reply
	var loss *lossError
	if !reused {
		loss = connect()
	}
	if loss == nil {
		answer, loss = c.get(r.url, r.AnswerTimeout)
	}
	// A server may close a connection that it keeps at any time, also while a
	// request is on its way. A client may then send a GET again. One that the
	// server had for longer it has cut.
	if reused && !r.Post && loss != nil && (loss.kind == EOFBeforeReply || loss.kind == ResetBeforeReply) && time.Since(asked) < onItsWay {
		r.recorder.retried(traffic)
		c.Close()
		if loss = connect(); loss == nil {
			answer, loss = c.get(r.url, r.AnswerTimeout)
		}
	}
	if loss != nil {
		r.recorder.lost(traffic, loss, began)
		if c != nil {
			c.Close()
		}
		return nil
	}
	r.recorder.answered(traffic, answer.revision, connected, time.Since(began))
	if answer.closing {
		c.Close()
		return nil
	}
	return c
}
