package units

import (
	"testing"

	"service-manager/units/unitfile"
)

// Steps are undone in reverse and, where something would be left, twice.
func TestChain(t *testing.T) {
	steps := chain{
		before: []step{{do: command{"take-turn"}, undo: command{"leave-queue", "web"}}},
		main:   step{do: command{"run", "web"}, undo: command{"remove", "web"}, lasting: true},
		after:  []step{{do: command{"check"}}},
		last:   []step{{do: command{"open"}, stop: command{"drain"}, undo: command{"close"}, lasting: true}},
	}
	var unit unitfile.Text
	steps.writeStart(&unit)
	steps.writeLast(&unit)
	steps.writeEnd(&unit)
	const want = `ExecStartPre=take-turn
ExecStart=run web
ExecStartPost=check
ExecStartPost=open
ExecStop=-drain
ExecStopPost=-close
ExecStopPost=-close
ExecStopPost=-remove web
ExecStopPost=-remove web
ExecStopPost=-leave-queue web
`
	if unit.String() != want {
		t.Errorf("the chain is\n%s\nwant\n%s", unit.String(), want)
	}
}
