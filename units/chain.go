package units

import (
	"slices"

	"service-manager/units/unitfile"
)

// A command is a helper and its arguments. The zero value is none.
type command []unitfile.Word

// A step is one part of what a unit does, together with what undoes it. systemd runs the
// steps in their order, each when the one before is done, and undoes them in reverse.
type step struct {
	do command
	// stop begins the orderly end of a runner that serves. It does not run where a start
	// fails or a container dies.
	stop command
	// undo runs after every end, even if the step was never reached, and must alone leave
	// nothing of it behind.
	undo command
	// lasting says that what the step has made would outlive the runner if it were not
	// undone.
	lasting bool
}

// A chain is all that a unit does: steps before its main one, the main one, and
// steps after it.
type chain struct {
	before []step
	main   step
	after  []step
	// last are the steps after those for which everything must be right, including what
	// drop-ins of the host's administrator check.
	last []step
}

// writeStart adds what the steps do, but for the last ones.
func (c chain) writeStart(t *unitfile.Text) {
	for _, s := range c.before {
		t.Command("ExecStartPre", s.do...)
	}
	t.Command("ExecStart", c.main.do...)
	for _, s := range c.after {
		t.Command("ExecStartPost", s.do...)
	}
}

// writeLast adds what the last steps do.
func (c chain) writeLast(t *unitfile.Text) {
	for _, s := range c.last {
		t.Command("ExecStartPost", s.do...)
	}
}

// writeEnd adds what takes the steps back.
func (c chain) writeEnd(t *unitfile.Text) {
	back := slices.Concat(c.before, []step{c.main}, c.after, c.last)
	slices.Reverse(back)
	for _, s := range back {
		if s.stop != nil {
			// Also when one fails, the next ones run.
			t.Attempt("ExecStop", s.stop...)
		}
	}
	for _, s := range back {
		if s.undo == nil {
			continue
		}
		t.Attempt("ExecStopPost", s.undo...)
		if s.lasting {
			// Twice, because a command may be killed, for example by the kernel when
			// memory is short, and a destination that outlives its container would lose
			// requests.
			t.Attempt("ExecStopPost", s.undo...)
		}
	}
}
