package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// No static unit can use up the memory of the host, or opens the run records to everyone.
func TestLimits(t *testing.T) {
	files, err := filepath.Glob("*.service")
	if err != nil || len(files) == 0 {
		t.Fatalf("no static units: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"MemoryMax=", "TasksMax="}
		if strings.Contains(string(text), "\nRuntimeDirectory=") {
			want = append(want, "RuntimeDirectoryMode=0700\n")
		}
		for _, setting := range want {
			if !strings.Contains(string(text), "\n"+setting) {
				t.Errorf("%s lacks %s", file, strings.TrimSpace(setting))
			}
		}
	}
}

// systemd-analyze security gives each static unit at most 2.0.
func TestExposure(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	files, err := filepath.Glob("*.service")
	if err != nil || len(files) == 0 {
		t.Fatalf("no static units: %v", err)
	}
	overall := regexp.MustCompile(`Overall exposure level for \S+: (\S+)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A template is judged as one of its instances.
		path := filepath.Join(t.TempDir(), strings.Replace(file, "@.", "@instance.", 1))
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "--no-pager", "--offline=yes", "--threshold=20", "security", path).CombinedOutput()
		if strings.Contains(string(out), "unrecognized option") {
			t.Skip("systemd-analyze is too old to look at a file")
		}
		level := overall.FindSubmatch(out)
		if level == nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		t.Logf("%s: %s", file, level[1])
		if err != nil {
			t.Errorf("%s: its exposure is %s:\n%s", file, level[1], out)
		}
	}
}
