package ipvs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"172.17.0.1:7001":          "172.17.0.1:7001",
		"172.17.0.1:7001/tcp":      "172.17.0.1:7001",
		"172.17.0.1:53/udp":        "172.17.0.1:53/udp",
		"[fd00::1]:7001":           "[fd00::1]:7001",
		"[fd00:0::0:1]:7001/udp":   "[fd00::1]:7001/udp",
		"[::ffff:172.17.0.1]:7001": "172.17.0.1:7001",
		"":                         `address "": must be IP:port, with an IPv6 address in brackets`,
		"172.17.0.1":               `address "172.17.0.1": must be IP:port, with an IPv6 address in brackets`,
		"fd00::1:7001":             `address "fd00::1:7001": must be IP:port, with an IPv6 address in brackets`,
		"localhost:7001":           `address "localhost:7001": must be IP:port, with an IPv6 address in brackets`,
		":7001":                    `address ":7001": must be IP:port, with an IPv6 address in brackets`,
		"172.17.0.1:0":             `address "172.17.0.1:0": port 0 cannot be served`,
		"172.17.0.1:65536":         `address "172.17.0.1:65536": must be IP:port, with an IPv6 address in brackets`,
		"172.17.0.1:7001/sctp":     `address "172.17.0.1:7001/sctp": unknown protocol "sctp": tcp or udp`,
		"172.17.0.1:7001/":         `address "172.17.0.1:7001/": unknown protocol "": tcp or udp`,
		"0.0.0.0:7001":             `address "0.0.0.0:7001": must be the address of one host`,
		"224.0.0.1:7001":           `address "224.0.0.1:7001": must be the address of one host`,
		"[fe80::1%eth0]:7001":      `address "[fe80::1%eth0]:7001": an address with a zone cannot be served`,
	} {
		got, err := ParseAddress(text)
		if err != nil {
			if err.Error() != want {
				t.Errorf("ParseAddress(%q): got  %v\nwant %s", text, err, want)
			}
		} else if got.String() != want {
			t.Errorf("ParseAddress(%q) = %s; want %s", text, got, want)
		}
	}
}

func TestParseDestination(t *testing.T) {
	for text, want := range map[string]string{
		"172.17.0.3:80":     "172.17.0.3:80",
		"[fd00::3]:80":      "[fd00::3]:80",
		":80":               `destination ":80": the container has no address`,
		"[]:80":             `destination "[]:80": the container has no address`,
		"":                  `destination "": must be IP:port, with an IPv6 address in brackets`,
		":":                 `destination ":": must be IP:port, with an IPv6 address in brackets`,
		":0":                `destination ":0": must be IP:port, with an IPv6 address in brackets`,
		"[]":                `destination "[]": must be IP:port, with an IPv6 address in brackets`,
		"172.17.0.3:80/tcp": `destination "172.17.0.3:80/tcp": must be IP:port, with an IPv6 address in brackets`,
	} {
		got, err := ParseDestination(text)
		if err != nil {
			if err.Error() != want {
				t.Errorf("ParseDestination(%q): got  %v\nwant %s", text, err, want)
			}
			if errors.Is(err, ErrNoHost) != strings.HasSuffix(want, "no address") {
				t.Errorf("ParseDestination(%q): ErrNoHost is %t", text, errors.Is(err, ErrNoHost))
			}
		} else if got.String() != want {
			t.Errorf("ParseDestination(%q) = %s; want %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"172.17.0.1:7001", "[fd00::1]:7001/udp", "172.17.0.1:53/tcp", ":80", "[]:80", "[::ffff:1.2.3.4]:1", "[fe80::1%a]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := ParseAddress(text); err == nil {
			again, err := ParseAddress(at.String())
			if err != nil || again != at {
				t.Errorf("ParseAddress(%q) = %s, which reads as %s, %v", text, at, again, err)
			}
			if at.Port() == 0 || at.Addr().Is4In6() || at.Addr().Zone() != "" {
				t.Errorf("ParseAddress(%q) = %s, which IPVS cannot serve", text, at)
			}
		} else if strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("an error of more than one line: %q", err)
		}
		if to, err := ParseDestination(text); err == nil {
			again, err := ParseDestination(to.String())
			if err != nil || again != to {
				t.Errorf("ParseDestination(%q) = %s, which reads as %s, %v", text, to, again, err)
			}
		} else if strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("an error of more than one line: %q", err)
		}
	})
}

func TestCheckLocal(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1":    "is a loopback address",
		"127.9.9.9":    "is a loopback address",
		"::1":          "is a loopback address",
		"203.0.113.77": "is not an address of this host",
		"2001:db8::99": "is not an address of this host",
	} {
		if err := CheckLocal(netip.MustParseAddr(addr)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckLocal(%s) = %v; want %s", addr, err, want)
		}
	}
}
