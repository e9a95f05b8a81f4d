package keeper

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"service-manager/helpers/internal/ipvs"
)

func TestCare(t *testing.T) {
	healths := map[string]health{"fine": fine, "unproven": unproven, "well": well, "failing": failing, "ended": ended}
	for _, test := range []struct {
		name string
		// Each is "owner's health, what the unit wants, what the kernel has"; "-" is nothing.
		destinations []string
		want         string
	}{
		{"all is well", []string{"fine 1 1", "fine 2 2"}, ""},
		{"an operator's weights are theirs", []string{"fine 1 0", "fine 1 7"}, ""},
		{"one fails", []string{"failing 1 1", "fine 1 1"}, "rest 0"},
		{"one fails, which rests", []string{"failing 1 0", "fine 1 1"}, ""},
		{"the only one fails", []string{"failing 1 1"}, "last 0"},
		{"the last one fails", []string{"failing 1 0", "failing 1 1"}, "last 1"},
		{"all fail at once", []string{"failing 1 1", "failing 1 1"}, "last 0, last 1"},
		{"one is healthy again", []string{"well 3 0", "fine 1 1"}, "serve 0"},
		{"the only one is healthy again", []string{"well 1 1"}, ""},
		{"one is healthy again while the last one fails", []string{"well 1 0", "failing 1 1"}, "rest 1, serve 0"},
		{"the one that got connections is gone", []string{"failing 1 0", "failing 1 0"}, "serve 0, serve 1"},
		{"it has ended", []string{"failing 1 0", "ended 1 1"}, "evict 1, serve 0"},
		{"nothing is known yet, and one rests", []string{"unproven 1 0", "fine 1 1"}, ""},
		{"nothing is known yet, and all rest", []string{"unproven 1 0", "unproven 1 0"}, "serve 0, serve 1"},
		{"one that is not known yet gets connections", []string{"failing 1 1", "unproven 1 1"}, "rest 0"},
		{"a draining one does not count", []string{"failing 1 1", "fine 0 0"}, "last 0"},
		{"a draining one stays", []string{"failing 0 0", "failing 1 1"}, "last 1"},
		{"one is missing", []string{"fine 1 -", "fine 1 1"}, "restore"},
		{"all are missing", []string{"fine 1 -", "fine 0 -"}, "restore"},
		{"a missing one fails", []string{"failing 1 -", "fine 1 -"}, "restore, rest 0"},
		{"it has ended, and is gone", []string{"ended 1 -"}, ""},
		{"a failing one is beside one that an operator has stopped", []string{"failing 1 1", "fine 1 0"}, "last 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := ipvs.Address{AddrPort: netip.MustParseAddrPort("172.17.0.1:7001"), Protocol: ipvs.TCP}
			of := make(map[string]health)
			service := ipvs.Service{Address: at}
			var wanted []ipvs.Wanted
			for i, d := range test.destinations {
				fields := strings.Fields(d)
				to := netip.MustParseAddrPort(fmt.Sprintf("172.17.0.%d:80", i+2))
				w := ipvs.Wanted{Place: ipvs.Place{Address: at, Destination: to}, Owner: fmt.Sprint(i)}
				fmt.Sscan(fields[1], &w.Weight)
				wanted = append(wanted, w)
				of[w.Owner] = healths[fields[0]]
				if fields[2] != "-" {
					there := ipvs.Destination{Address: to}
					fmt.Sscan(fields[2], &there.Weight)
					service.Destinations = append(service.Destinations, there)
				}
			}
			// Another's is there, too, and what another program has added to ours.
			service.Destinations = append(service.Destinations, ipvs.Destination{Address: netip.MustParseAddrPort("10.0.0.2:80")})
			foreign := ipvs.Service{Address: ipvs.Address{AddrPort: netip.MustParseAddrPort("10.0.0.1:80"), Protocol: ipvs.TCP}, Destinations: service.Destinations}
			c := careFor(wanted, []ipvs.Service{foreign, service}, func(owner string) health { return of[owner] })
			if want := []ipvs.Place{{Address: at, Destination: netip.MustParseAddrPort("10.0.0.2:80")}}; !slices.Equal(c.discard, want) {
				t.Errorf("to be removed: %v; want %v", c.discard, want)
			}
			var got []string
			for range c.restore {
				got = append(got, "restore")
			}
			for _, part := range []struct {
				what string
				of   []ipvs.Wanted
			}{{"evict", c.evict}, {"rest", c.rest}, {"serve", c.serve}, {"last", c.last}} {
				for _, d := range part.of {
					got = append(got, part.what+" "+d.Owner)
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// Each virtual service is decided about by itself.
func TestCareForEach(t *testing.T) {
	var wanted []ipvs.Wanted
	for i := range 3 {
		at := ipvs.Address{AddrPort: netip.MustParseAddrPort(fmt.Sprintf("172.17.0.1:%d", 7001+i)), Protocol: ipvs.TCP}
		wanted = append(wanted, ipvs.Wanted{Place: ipvs.Place{Address: at, Destination: netip.MustParseAddrPort("172.17.0.2:80")}, Weight: 1})
	}
	c := careFor(wanted, nil, func(string) health { return fine })
	if len(c.restore) != 3 || slices.Contains(c.restore, ipvs.Address{}) {
		t.Errorf("restored: %v; want each of three", c.restore)
	}
}
