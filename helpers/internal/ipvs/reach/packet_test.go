package reach

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
)

// What Linux sends first, except for the checksum: from 10.98.0.2 to 172.17.0.1, and
// between two IPv6 addresses.
var firstPackets = map[string]string{
	"IPv4": "4500003c1c4640004006" + "0000" + "0a620002ac110001" + ports + sequence + "a002faf0" + "0000" + "0000" + options,
	"IPv6": "600000000028" + "0640" + "fd770000000000000000000000000002fd770000000000000000000000000001" + ports + sequence + "a002faf0" + "0000" + "0000" + options,
}

const (
	ports    = "81a61b59"
	sequence = "f80b3b8800000000"
	// maximum segment size, selective acknowledgement, time, nothing, window scale
	options = "020405b40402" + "080a" + "bebd3c7300000000" + "01" + "030307"
)

func packet(t testing.TB, text string) []byte {
	t.Helper()
	p, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	addresses, segment, ok := split(p)
	if !ok {
		t.Fatalf("%s is no packet of TCP", text)
	}
	binary.BigEndian.PutUint16(segment[16:], checksum(addresses, segment))
	return p
}

// isWhole reports whether the checksum is right: over a segment that has it, it is 0.
func isWhole(p []byte) bool {
	addresses, segment, ok := split(p)
	return ok && checksum(addresses, segment) == 0
}

func TestWithoutTime(t *testing.T) {
	for name, text := range firstPackets {
		p := packet(t, text)
		before := slices.Clone(p)
		changed, ok := withoutTime(p)
		if !ok || !bytes.Equal(p, before) {
			t.Fatalf("%s: %t; the packet itself was changed: %t", name, ok, !bytes.Equal(p, before))
		}
		want := bytes.Replace(p, []byte("\x08\x0a\xbe\xbd\x3c\x73\x00\x00\x00\x00"), bytes.Repeat([]byte{noOption}, 10), 1)
		_, segment, _ := split(want)
		_, got, _ := split(changed)
		copy(segment[16:18], got[16:18])
		if !bytes.Equal(changed, want) || !isWhole(changed) {
			t.Errorf("%s:\n%x; want\n%x", name, changed, want)
		}
		if _, ok := withoutTime(changed); ok {
			t.Errorf("%s: there is a time left", name)
		}
		for end := range p {
			if _, ok := withoutTime(p[:end]); ok {
				t.Errorf("%s: %d of %d bytes are taken for the whole", name, end, len(p))
			}
		}
	}
}

// Another program computes the same checksum from the same bytes.
func TestChecksum(t *testing.T) {
	// A SYN from 127.0.0.1:40000 to 127.0.0.1:80 without options, sequence 1, window 100.
	p, err := hex.DecodeString("45000028000100004006" + "0000" + "7f0000017f000001" + "9c400050" + "0000000100000000" + "50020064" + "0000" + "0000")
	if err != nil {
		t.Fatal(err)
	}
	addresses, segment, ok := split(p)
	if sum := checksum(addresses, segment); !ok || sum != 0x14eb {
		t.Errorf("%#x, %t", sum, ok)
	}
}

func TestConnectionOf(t *testing.T) {
	names := map[string]bool{}
	for _, text := range firstPackets {
		name, ok := connectionOf(packet(t, text))
		if !ok {
			t.Error("a packet of TCP has no connection")
		}
		names[name] = true
	}
	if len(names) != len(firstPackets) {
		t.Errorf("of %d connections %d have a name of their own", len(firstPackets), len(names))
	}
	udp := packet(t, firstPackets["IPv4"])
	udp[9] = 17
	if _, ok := connectionOf(udp); ok {
		t.Error("a datagram has a connection")
	}
}

func FuzzWithoutTime(f *testing.F) {
	for _, text := range firstPackets {
		f.Add(packet(f, text))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _ = connectionOf(p)
		changed, ok := withoutTime(p)
		if ok && (len(changed) != len(p) || !isWhole(changed)) {
			t.Errorf("%x became %x", p, changed)
		}
	})
}

func FuzzParseQueued(f *testing.F) {
	f.Add([]byte{2, 0, 0xb7, 0x99, 11, 0, 1, 0, 0, 0, 0, 5, 8, 0, 1, 0, 8, 0, 10, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, message []byte) {
		if p, ok := parseQueued(message); ok && len(p.bytes) > len(message) {
			t.Error("more bytes than there were")
		}
	})
}

func TestParseQueued(t *testing.T) {
	p, ok := parseQueued([]byte{2, 0, 0xb7, 0x99, 11, 0, 1, 0, 0, 0, 0, 5, 8, 0, 1, 0, 8, 0, 10, 0, 1, 2, 3, 4})
	if !ok || p.id != 5 || !bytes.Equal(p.bytes, []byte{1, 2, 3, 4}) {
		t.Errorf("%+v, %t", p, ok)
	}
	// Not all of its bytes were copied.
	p, ok = parseQueued([]byte{2, 0, 0xb7, 0x99, 11, 0, 1, 0, 0, 0, 0, 5, 8, 0, 1, 0, 8, 0, 13, 0, 0, 0, 9, 9, 8, 0, 10, 0, 1, 2, 3, 4})
	if !ok || p.id != 5 || p.bytes != nil {
		t.Errorf("%+v, %t", p, ok)
	}
}
