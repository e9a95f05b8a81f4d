package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/units/printable"
)

func TestJournal(t *testing.T) {
	err := fmt.Errorf("web: %w", hint.Add(errors.New("is\x1b[2J held"), "run fuser -v\n/x"))
	for name, test := range map[string]struct{ stream, want string }{
		"terminal": {"", "sm-fetch: error: web: is\\x1b[2J held; trying again every 5s\nsm-fetch: hint: run fuser -v /x\n"},
		"journal":  {"8:1", "<3>sm-fetch: error: web: is\\x1b[2J held; trying again every 5s\n<3>sm-fetch: hint: run fuser -v /x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			log := newJournal(command.World{Stderr: printable.Messages(&out), Env: func(string) (string, bool) { return test.stream, test.stream != "" }})
			log.Error("%v; trying again every %v", err, "5s")
			if out.String() != test.want {
				t.Errorf("got  %q\nwant %q", out.String(), test.want)
			}
		})
	}
}
