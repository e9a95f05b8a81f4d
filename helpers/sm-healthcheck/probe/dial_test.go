package probe

import (
	"net"
	"os"
	"testing"
)

func TestOtherPorts(t *testing.T) {
	for text, want := range map[string][2]int{
		"32768\t60999\n": {61000, 4536},
		"":               {61000, 4536},
		"1024\t65000\n":  {65001, 535},
		"10000\t65535\n": {5904, 4096},
		"1200\t65535\n":  {0, 0},
		"2000\t65400\n":  {1024, 976},
	} {
		if first, n := otherPorts(text); first != want[0] || n != want[1] {
			t.Errorf("%q: %d ports from %d on; want %d from %d on", text, n, first, want[1], want[0])
		}
	}
}

// A probe comes from a port that no client of this host has.
func TestProbeComesFromAnotherPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	text, err := os.ReadFile(localPorts)
	if err != nil {
		t.Skip(err)
	}
	first, n := otherPorts(string(text))
	if n == 0 {
		t.Skipf("there are no other ports: %s", text)
	}
	for range 20 {
		conn, err := dial(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.TCPAddr).Port
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		if port < first || port >= first+n {
			t.Errorf("a probe came from port %d; want one of the %d from %d on", port, n, first)
		}
	}
}
