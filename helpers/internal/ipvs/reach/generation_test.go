package reach

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// generationMessage is an answer of the kernel's: the number, and who made the last change.
func generationMessage(t testing.TB, number uint32) []byte {
	t.Helper()
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_GEN_PROC_PID, Data: []byte{0, 0, 0, 9}},
		{Type: unix.NFTA_GEN_ID, Data: binary.BigEndian.AppendUint32(nil, number)},
		{Type: unix.NFTA_GEN_PROC_NAME, Data: []byte("nft\x00")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{0, 0, 0, 7}, attributes...)
}

func TestGeneration(t *testing.T) {
	whole := generationMessage(t, 0x01020304)
	if got, err := generationIn(whole); err != nil || got != 0x01020304 {
		t.Errorf("got %#x, %v", got, err)
	}
	for _, message := range [][]byte{nil, whole[:3], whole[:4], whole[:12], whole[:18]} {
		if got, err := generationIn(message); err == nil {
			t.Errorf("of %d bytes: got %#x", len(message), got)
		}
	}
}

// Whatever the kernel answers, it does not panic.
func FuzzGeneration(f *testing.F) {
	f.Add(generationMessage(f, 7))
	f.Add([]byte{0, 0, 0, 7, 8, 0, 1})
	f.Fuzz(func(t *testing.T, message []byte) { _, _ = generationIn(message) })
}
