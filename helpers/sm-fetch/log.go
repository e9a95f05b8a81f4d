package main

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/units/printable"
)

// journal writes lines that carry their priority when they go to the journal. The way out
// of an error among the arguments gets a line of its own.
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
	args = slices.Clone(args)
	var ways []string
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			said, way := hint.Split(err)
			args[i] = said
			if way != "" {
				ways = append(ways, way)
			}
		}
	}
	line := printable.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.out, "%ssm-fetch: %s\n", priority, line)
	for _, way := range ways { // each write is one line
		fmt.Fprintf(j.out, "%ssm-fetch: hint: %s\n", priority, printable.Clean(way))
	}
}
