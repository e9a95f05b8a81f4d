package main

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sm-ipvs": main})
}

func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// The race detector lets every process sleep for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
	})
}

// A destination must not be added for a main process that has ended, whatever else is
// wrong; the main process has said why.
func TestAddWithDeadMainProcess(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for operands, want := range map[string]string{
		"127.0.0.1:7001 172.17.0.3:80": "add 172.17.0.3:80 to 127.0.0.1:7001: the main process of the unit has ended",
		"172.17.0.1:7001 :80":          "add to 172.17.0.1:7001: the main process of the unit has ended",
	} {
		w := command.World{
			Args: append([]string{"add"}, strings.Fields(operands)...),
			Env: func(name string) (string, bool) {
				if name == "MAINPID" {
					return strconv.Itoa(dead.Process.Pid), true
				}
				return "", false
			},
		}
		err := run(context.Background(), w)
		if err == nil || err.Error() != want {
			t.Errorf("add %s: got  %v\nwant %s", operands, err, want)
		}
		if _, quiet := err.(*command.QuietError); !quiet {
			t.Errorf("add %s: the error would replace the unit's status", operands)
		}
	}
}

func at(text string) ipvs.Address {
	address, err := ipvs.ParseAddress(text)
	if err != nil {
		panic(err)
	}
	return address
}

func TestListFormats(t *testing.T) {
	services := []ipvs.Service{
		{Address: at("172.17.0.1:7001"), Scheduler: "rr", Destinations: []ipvs.Destination{
			{Address: netip.MustParseAddrPort("172.17.0.3:80"), Weight: 1, ActiveConnections: 3, InactiveConnections: 120},
			{Address: netip.MustParseAddrPort("172.17.0.14:80")},
		}},
		{Address: at("[fd00::1]:53/udp"), Scheduler: "wrr"},
		{FWMark: 7, Scheduler: "sh", Destinations: []ipvs.Destination{{Address: netip.MustParseAddrPort("[fd00::3]:80"), Weight: 65535}}},
	}
	for _, test := range []struct {
		name     string
		write    func(*bytes.Buffer, []ipvs.Service) error
		services []ipvs.Service
		want     string
	}{
		{"table", func(b *bytes.Buffer, s []ipvs.Service) error { return writeTable(b, s) }, services, `
VIRTUAL SERVICE   SCHEDULER  DESTINATION     WEIGHT  ACTIVE  INACTIVE
172.17.0.1:7001   rr         172.17.0.3:80   1       3       120
172.17.0.1:7001   rr         172.17.0.14:80  0       0       0
[fd00::1]:53/udp  wrr        -               -       -       -
fwmark:7          sh         [fd00::3]:80    65535   0       0
`},
		{"empty table", func(b *bytes.Buffer, s []ipvs.Service) error { return writeTable(b, s) }, nil, "\n"},
		{"empty JSON", func(b *bytes.Buffer, s []ipvs.Service) error { return writeJSON(b, s) }, nil, "\n[]\n"},
		{"JSON", func(b *bytes.Buffer, s []ipvs.Service) error { return writeJSON(b, s) }, services[1:], `
[
  {
    "address": "[fd00::1]:53",
    "protocol": "udp",
    "scheduler": "wrr",
    "destinations": []
  },
  {
    "fwmark": 7,
    "scheduler": "sh",
    "destinations": [
      {
        "address": "[fd00::3]:80",
        "weight": 65535,
        "active_connections": 0,
        "inactive_connections": 0
      }
    ]
  }
]
`},
	} {
		var out bytes.Buffer
		if err := test.write(&out, test.services); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// A connection that is none may end between two looks, when one that is open stays.
func TestCrossedConnectionEnds(t *testing.T) {
	crossed := 1
	d := &draining{connections: func() (ipvs.Connections, error) { return ipvs.Connections{Crossed: crossed}, nil }}
	if open, err := d.without(2); open != 1 || err != nil {
		t.Errorf("of two: %d are open, %v; want 1", open, err)
	}
	crossed = 0
	if open, err := d.without(1); open != 1 || err != nil {
		t.Errorf("of the one that stays: %d are open, %v; want 1", open, err)
	}
}
