package ipvs

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// connectionsOfKernel was written by Linux 6.1.
const connectionsOfKernel = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A4E0002 8C14 0A4D0001 1B59 0A4D0002 0050 SYN_RECV         59
TCP 0A4D0001 B0FA 0A4D0001 1B59 0A4D0002 0050 ESTABLISHED     899
TCP 0A4D0001 B0FB 0A4D0001 1B59 0A4D0002 0050 SYN_SENT        119
TCP 0A4D0001 B0FC 0A4D0001 1B59 0A4D0002 0050 CLOSE_WAIT       59
TCP 0A4D0001 B0FE 0A4D0001 1B59 0A4D0002 0050 FIN_WAIT        119
TCP 0A4D0001 B100 0A4D0001 1B59 0A4D0002 0050 TIME_WAIT       119
TCP 0A4D0001 B102 0A4D0001 1B59 0A4D0002 0050 LAST_ACK         29
TCP 0A4D0001 B104 0A4D0001 1B59 0A4D0003 0050 LAST_ACK        899
TCP 0A4D0001 B106 0A4D0001 1B5A 0A4D0002 0050 CLOSE_WAIT       59
UDP 0A4D0001 B106 0A4D0001 1B59 0A4D0002 0050 UDP             299
TCP fd77:0000:0000:0000:0000:0000:0000:0001 B0FA fd77:0000:0000:0000:0000:0000:0000:0001 1B59 fd77:0000:0000:0000:0000:0000:0000:0002 0050 CLOSE_WAIT       59
`

func TestCountConnections(t *testing.T) {
	for _, test := range []struct {
		at, to string
		want   Connections
	}{
		{"10.77.0.1:7001", "10.77.0.2:80", Connections{Open: []netip.AddrPort{netip.MustParseAddrPort("10.77.0.1:45306")}, Opening: 1, Crossed: 1, HalfClosed: 1, Unacknowledged: 2}},
		{"10.77.0.1:7001", "10.77.0.3:80", Connections{Unacknowledged: 1}},
		{"10.77.0.1:7002", "10.77.0.2:80", Connections{HalfClosed: 1}},
		{"10.77.0.1:7001", "10.77.0.4:80", Connections{}},
		{"[fd77::1]:7001", "[fd77::2]:80", Connections{HalfClosed: 1}},
		{"10.77.0.1:7001/udp", "10.77.0.2:80", Connections{Flows: 1}},
	} {
		at, err := ParseAddress(test.at)
		if err != nil {
			t.Fatal(err)
		}
		have, err := countConnections(strings.NewReader(connectionsOfKernel), at, netip.MustParseAddrPort(test.to))
		if err != nil || !reflect.DeepEqual(have, test.want) {
			t.Errorf("%s of %s: %+v, %v; want %+v", test.to, test.at, have, err, test.want)
		}
	}
}

func FuzzCountConnections(f *testing.F) {
	f.Add(connectionsOfKernel)
	f.Fuzz(func(t *testing.T, list string) {
		at := Address{netip.MustParseAddrPort("10.77.0.1:7001"), TCP}
		_, _ = countConnections(strings.NewReader(list), at, netip.MustParseAddrPort("10.77.0.2:80"))
	})
}
