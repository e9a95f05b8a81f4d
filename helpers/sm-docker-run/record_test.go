package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRecordText(t *testing.T) {
	for _, test := range []struct {
		record record
		want   string
	}{
		{record{name: "web.2-9ab"}, "SM_CONTAINER_NAME=web.2-9ab\n"},
		{record{"web", "0123", "172.17.0.2", "fd00::2"},
			"SM_CONTAINER_NAME=web\nSM_CONTAINER_ID=0123\nSM_CONTAINER_IP=172.17.0.2\nSM_CONTAINER_IP6=fd00::2\n"},
		{record{"web", "0123", "", ""}, "SM_CONTAINER_NAME=web\nSM_CONTAINER_ID=0123\nSM_CONTAINER_IP=\nSM_CONTAINER_IP6=\n"},
	} {
		if got, err := test.record.text(); err != nil || got != test.want {
			t.Errorf("%+v: got %q, %v; want %q", test.record, got, err, test.want)
		}
	}
	for _, bad := range []record{
		{name: "a b"}, {name: "a\nB=c"}, {name: `a"`}, {name: "a\\"}, {name: "$a"},
		{"web", "0123", "1.2.3.4\nX=y", ""}, {"web", "0123", "", "'"}, {"web", "#", "", ""},
	} {
		if text, err := bad.text(); err == nil {
			t.Errorf("%+v: got %q; want an error", bad, text)
		}
	}
}

func FuzzRecordText(f *testing.F) {
	f.Add("web", "0123", "172.17.0.2", "fd00::2")
	f.Fuzz(func(t *testing.T, name, id, ip4, ip6 string) {
		text, err := record{name, id, ip4, ip6}.text()
		if err != nil {
			return
		}
		want := []string{"SM_CONTAINER_NAME=" + name}
		if id != "" {
			want = append(want, "SM_CONTAINER_ID="+id, "SM_CONTAINER_IP="+ip4, "SM_CONTAINER_IP6="+ip6)
		}
		if text != strings.Join(want, "\n")+"\n" {
			t.Errorf("text %q", text)
		}
	})
}

func TestRecordWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web", "2-9ab.env")
	for _, r := range []record{{name: "web"}, {"web", "0123", "1.2.3.4", ""}} {
		if err := r.write(path); err != nil {
			t.Fatal(err)
		}
		want, _ := r.text()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v); want %q", path, got, err, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v (%v); want one that only its owner can read", path, info.Mode(), err)
		}
	}
	if err := (record{name: "web"}).write(""); err != nil {
		t.Errorf("no file asked for: %v", err)
	}
}
