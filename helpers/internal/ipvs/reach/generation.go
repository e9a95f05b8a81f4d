package reach

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Generation returns the number of what nftables has in this network namespace. It changes
// with every transaction of every program, and with no packet.
func Generation() (uint32, error) {
	const what = "ask the kernel for the generation of nftables"
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	for _, answer := range answers {
		if generation, err := generationIn(answer.Data); err == nil {
			return generation, nil
		}
	}
	return 0, fmt.Errorf("%s: the answer has none", what)
}

// generationIn reads a message, which begins with four bytes of its own.
func generationIn(message []byte) (uint32, error) {
	if len(message) < 4 {
		return 0, errors.New("too short")
	}
	attributes, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return 0, err
	}
	attributes.ByteOrder = binary.BigEndian
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_GEN_ID {
			generation := attributes.Uint32()
			return generation, attributes.Err()
		}
	}
	return 0, errors.Join(attributes.Err(), errors.New("no generation"))
}
