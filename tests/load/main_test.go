package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"service-manager/tests/load/traffic"
)

func TestRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Revision", "4-abc")
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "report.json")
	var stdout, stderr bytes.Buffer
	args := []string{"--connections-per-second", "50", "--keep-alive", "2", "--for", "200ms", "--out", file, server.URL + "/"}
	if code := run(context.Background(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report traffic.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.Total.Lost != 0 || report.New.Answered < 5 || report.KeepAlive.Answered < 2 || report.Revisions["4-abc"].Answers != report.Total.Answered {
		t.Errorf("%s", report)
	}
	if stdout.Len() != 0 {
		t.Errorf("with --out, standard output has %q", &stdout)
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-h"}, 0},
		{nil, 2},
		{[]string{"--nothing"}, 2},
		{[]string{"not a url"}, 2},
		{[]string{"--for", "31m", "http://127.0.0.1:1/"}, 2},
		{[]string{"--for", "1ms", "--out", "/nonexistent/file", "http://127.0.0.1:1/"}, 1},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(context.Background(), c.args, &stdout, &stderr); got != c.want {
			t.Errorf("%q: exit status %d, want %d: %s", c.args, got, c.want, &stderr)
		}
		if stderr.Len() == 0 {
			t.Errorf("%q: nothing on standard error", c.args)
		}
	}
}
