package reach

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// connectionOf identifies the connection of a TCP packet, given from its IP header on.
func connectionOf(packet []byte) (connection string, ok bool) {
	addresses, segment, ok := split(packet)
	if !ok {
		return "", false
	}
	return string(slices.Concat(addresses, segment[:4])), true // and both ports
}

// split returns both addresses and what follows the IP header, for TCP only. It takes
// neither fragments nor packets with other headers in between.
func split(packet []byte) (addresses, segment []byte, ok bool) {
	const ip4, ip6, tcp = 20, 40, 20
	if len(packet) == 0 {
		return nil, nil, false
	}
	switch packet[0] >> 4 {
	case 4:
		header := int(packet[0]&15) * 4
		if header < ip4 || len(packet) < header+tcp || packet[9] != unix.IPPROTO_TCP || binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 ||
			int(binary.BigEndian.Uint16(packet[2:])) != len(packet) {
			return nil, nil, false
		}
		return packet[12:20], packet[header:], true
	case 6:
		if len(packet) < ip6+tcp || packet[6] != unix.IPPROTO_TCP || int(binary.BigEndian.Uint16(packet[4:])) != len(packet)-ip6 {
			return nil, nil, false
		}
		return packet[8:40], packet[ip6:], true
	}
	return nil, nil, false
}

// Options of TCP, RFC 9293 and RFC 7323.
const (
	endOfOptions = 0
	noOption     = 1
	timestamps   = 8
)

// withoutTime returns a copy of a TCP packet without the timestamp option, and false when
// it has none.
func withoutTime(packet []byte) ([]byte, bool) {
	packet = slices.Clone(packet)
	addresses, segment, ok := split(packet)
	if !ok {
		return nil, false
	}
	const header = 20
	end := int(segment[12]>>4) * 4
	if end < header || end > len(segment) {
		return nil, false
	}
	found := false
	for options := segment[header:end]; len(options) > 0 && options[0] != endOfOptions; {
		if options[0] == noOption {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return nil, false
		}
		length := int(options[1])
		if options[0] == timestamps {
			found = true
			for i := range length {
				options[i] = noOption
			}
		}
		options = options[length:]
	}
	if !found {
		return nil, false
	}
	clear(segment[16:18])
	binary.BigEndian.PutUint16(segment[16:], checksum(addresses, segment))
	return packet, true
}

// checksum returns the checksum of a TCP segment in which that is 0.
func checksum(addresses, segment []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP) + uint32(len(segment))
	for _, part := range [][]byte{addresses, segment} {
		for len(part) > 1 {
			sum += uint32(binary.BigEndian.Uint16(part))
			part = part[2:]
		}
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
