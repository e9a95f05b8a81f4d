package main

import (
	"strings"
	"testing"
)

func TestBridgeOf(t *testing.T) {
	for from, want := range map[string]string{
		"outside": "", "container": "docker0", "container:br-1a2b": "br-1a2b",
		"": "error", "container:": "error", "outside:eth0": "error", "host": "error", "Container": "error",
	} {
		bridge, err := bridgeOf(from)
		if (err != nil) != (want == "error") || err == nil && bridge != want {
			t.Errorf("bridgeOf(%q) = %q, %v; want %q", from, bridge, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "--from: must be outside, container or container:BRIDGE (got ") {
			t.Error(err)
		}
	}
}

func TestRuleWith(t *testing.T) {
	const listing = `table ip filter { # handle 3
	chain INPUT { # handle 1
		type filter hook input priority filter; policy accept;
		iifname "eth0" tcp dport 7001 counter packets 7 bytes 420 drop # handle 14
		ip saddr 10.0.0.0/8 tcp dport 22 accept comment "ssh" # handle 4
	}
}
`
	for handle, want := range map[uint64]string{
		14: `iifname "eth0" tcp dport 7001 drop`, 4: `ip saddr 10.0.0.0/8 tcp dport 22 accept comment "ssh"`, 5: "", 40: "",
	} {
		if got := ruleWith(listing, handle); got != want {
			t.Errorf("rule %d: %q; want %q", handle, got, want)
		}
	}
}
