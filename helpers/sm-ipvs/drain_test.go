package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

// unnoted is a load balancer that cannot note what it does.
type unnoted struct {
	opening []int // connections that are opening, at each look
	done    int   // how often the weight was set to 0
}

func (*unnoted) Fill(context.Context, ipvs.Address, netip.AddrPort, string) (bool, error) {
	return true, nil
}

func (u *unnoted) Quiesce(context.Context, ipvs.Address, netip.AddrPort, string) (bool, error) {
	u.done++
	return true, fmt.Errorf("the weight is 0, and %w: no space left on device", ipvs.ErrUnnoted)
}

func (*unnoted) Destination(ipvs.Address, netip.AddrPort) (ipvs.Destination, bool, error) {
	return ipvs.Destination{ActiveConnections: 1}, true, nil
}

func (u *unnoted) Connections(ipvs.Address, netip.AddrPort) (ipvs.Connections, error) {
	n := u.opening[0]
	u.opening = u.opening[1:]
	return ipvs.Connections{Opening: n}, nil
}

// A drain that cannot be noted still waits for its connections.
func TestDrainUnnoted(t *testing.T) {
	var stderr bytes.Buffer
	w := command.World{Name: "sm-ipvs", Stderr: &stderr, Env: func(string) (string, bool) { return "", false }}
	u := &unnoted{opening: []int{0, 1, 0, 0}}
	mine, err := quiesce(t.Context(), w, u, at("172.17.0.1:7001"), netip.MustParseAddrPort("172.17.0.2:80"), time.Hour)
	if !mine || err != nil || u.done != 2 {
		t.Errorf("quiesce = %t, %v after weight 0 was set %d times; want success after 2", mine, err, u.done)
	}
	const want = "sm-ipvs: warning: drain 172.17.0.2:80: the weight is 0, and that could not be noted: no space left on device\n"
	if stderr.String() != want {
		t.Errorf("said %q; want %q", stderr.String(), want)
	}
}
