package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systemd finds nothing wrong with any unit that the golden cases show.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			out, helpers := t.TempDir(), t.TempDir()
			var names []string
			for name, content := range g.expected {
				// systemd takes what follows a colon for another name of the unit.
				path := filepath.Join(out, strings.ReplaceAll(name, ":", "."))
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				if strings.HasPrefix(content, "-> ") {
					continue
				}
				// The commands that it would miss are created.
				for line := range strings.Lines(content) {
					setting, command, _ := strings.Cut(line, "=")
					if !strings.HasPrefix(setting, "Exec") {
						continue
					}
					command, _, _ = strings.Cut(strings.TrimPrefix(command, "-"), " ")
					must(t, os.WriteFile(filepath.Join(helpers, filepath.Base(command)), []byte("#!/bin/sh\n"), 0o755))
					content = strings.ReplaceAll(content, filepath.Dir(command)+"/", helpers+"/")
				}
				must(t, os.WriteFile(path, []byte(content), 0o644))
				if strings.HasSuffix(name, ".service") {
					names = append(names, path)
				}
			}
			if len(names) == 0 {
				return
			}
			verify := exec.Command(analyze, append([]string{"--man=no", "verify"}, names...)...)
			if said, err := verify.CombinedOutput(); err != nil || len(said) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, said)
			}
		})
	}
}
