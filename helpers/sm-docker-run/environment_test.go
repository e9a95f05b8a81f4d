package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"service-manager/helpers/internal/command"
)

func TestEnvironment(t *testing.T) {
	given := []string{"B=given", "D="}
	for _, test := range []struct {
		document string
		want     []string
	}{
		{`{"environment": {"C": "3\n", "A": "a=b", "B": "2"}, "image": 1, "_id": "web"}`, []string{"A=a=b", "C=3\n", "B=given", "D="}},
		{`{"environment": {}}`, given},
		{`{"image": "nginx"}`, given},
	} {
		file := filepath.Join(t.TempDir(), "1.json")
		must(t, os.WriteFile(file, []byte(test.document), 0o600))
		if got, err := environment(file, given); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v; want %q", test.document, got, err, test.want)
		}
	}
	if got, err := environment("", given); err != nil || !slices.Equal(got, given) {
		t.Errorf("no file: %q, %v; want %q", got, err, given)
	}
}

// Whatever is wrong, nothing that the program says has a value in it.
func TestEnvironmentIsSecret(t *testing.T) {
	for document, want := range map[string]string{
		`{"environment": ["PASSWORD=s3cret"]}`:             `environment: must be an object of strings, like {"NAME": "value"} (got a list)`,
		`{"environment": "PASSWORD=s3cret"}`:               `(got a string)`,
		`{"environment": {"PASSWORD=s3cret": ""}}`:         `environment.PASSWORD=…: a variable's name`,
		`{"environment": {"PASSWORD": ["s3cret"]}}`:        `environment.PASSWORD: must be a string (got a list)`,
		`{"environment": {"PASSWORD": "s3cret\u0000"}}`:    `environment.PASSWORD: must not contain a NUL character (got a string)`,
		`{"environment": {"PASSWORD": "s3cret", "A" "b"}}`: `is not JSON: invalid character '"' after object key`,
		`{"environment": {"PASSWORD": "s3cret"`:            `is not JSON: it ends too early`,
		`{"environment": {"A": "s3cret", "A": "s3cret"}}`:  `environment: has A twice`,
		`["s3cret"]`: `must be a JSON object`,
		strings.Repeat(" ", 128<<10) + `{"A": "s3cret"}`: `is too large`,
	} {
		file := filepath.Join(t.TempDir(), "1.json")
		must(t, os.WriteFile(file, []byte(document), 0o600))
		var stderr bytes.Buffer
		w := command.World{Args: []string{"run", "--name", "web", "--environment-from", file, "nginx"}, Stderr: &stderr,
			Env: func(string) (string, bool) { return "", false }}
		err := run(context.Background(), w)
		command.Report("sm-docker-run", w, err)
		if said := stderr.String(); !strings.Contains(said, "web: --environment-from "+file+": ") || !strings.Contains(said, want) || strings.Contains(said, "s3cret") {
			t.Errorf("%.80s: %q; want %q and no value", document, said, want)
		}
	}
	for _, file := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "none")} {
		if _, err := environment(file, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s was read", file)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
