package main

import (
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sm-docker-run": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"usage": usage,
		},
	})
}

// usage runs sm-docker-run with arguments that it must refuse with exit code 2
// before it talks to a daemon.
func usage(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("sm-docker-run", args...)
	var code int
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	}
	if code != 2 {
		ts.Fatalf("%q: exit code %d (%v); want 2", args, code, err)
	}
}
