package main

import (
	"fmt"
	"io"
	"sync"

	"service-manager/helpers/internal/command"
	"service-manager/units/printable"
)

// journal writes lines that carry their priority when they go to the journal.
type journal struct {
	mu         sync.Mutex
	out        io.Writer
	priorities bool
}

func newJournal(w command.World) *journal {
	return &journal{out: w.Stderr, priorities: w.Getenv("JOURNAL_STREAM") != ""}
}

func (j *journal) Info(format string, args ...any)    { j.line("<6>", format, args...) }
func (j *journal) Warning(format string, args ...any) { j.line("<4>", "warning: "+format, args...) }
func (j *journal) Error(format string, args ...any)   { j.line("<3>", "error: "+format, args...) }

func (j *journal) line(priority, format string, args ...any) {
	if !j.priorities {
		priority = ""
	}
	line := printable.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.out, "%ssm-fetch: %s\n", priority, line)
}
