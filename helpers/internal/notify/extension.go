package notify

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// generated is the folder that every reload of systemd makes again, as the first thing.
const generated = "/run/systemd/generator"

// An extension is how long a step needs systemd to let it run. A reload makes systemd
// forget what it was asked for: it counts the unit's own time-out from the beginning of the
// start or stop again, however many steps that has had, and ends the running step at once if
// that is over. What it is told during the reload it reads before it looks at time-outs, so
// the extension is repeated then.
type extension struct {
	send   func(state string)
	folder string        // see generated
	every  time.Duration // the time between looks at the folder; a reload takes longer

	mu       sync.Mutex
	until    time.Time
	watching bool
}

// set extends the time of the running step, as far as reloads are concerned.
func (e *extension) set(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if until := time.Now().Add(d); until.After(e.until) {
		e.until = until
	}
	if !e.watching {
		e.watching = true
		go e.watch(look(e.folder))
	}
}

// watch repeats the extension at each reload, until it has passed.
func (e *extension) watch(before identity) {
	for {
		// Many may wait, for minutes: without a timer of Go's this takes half the processor time.
		pause := syscall.NsecToTimespec(e.every.Nanoseconds())
		_ = syscall.Nanosleep(&pause, nil) // a signal only makes it shorter
		e.mu.Lock()
		left := time.Until(e.until)
		e.watching = left > 0
		e.mu.Unlock()
		if left <= 0 {
			return
		}
		now := look(e.folder)
		if now != before {
			e.send(extend(left))
		}
		before = now
	}
}

func extend(d time.Duration) string { return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()) }

// identity distinguishes a folder from the next one of its name, and from what it was
// before a file was added.
type identity struct {
	inode    uint64
	modified syscall.Timespec
}

func look(folder string) (id identity) {
	info, err := os.Stat(folder)
	if err != nil {
		return id // between one and the next
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		id = identity{stat.Ino, stat.Mtim}
	}
	return id
}
