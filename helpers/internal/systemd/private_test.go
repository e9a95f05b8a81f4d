package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	godbus "github.com/godbus/dbus/v5"
)

// message returns the bytes of a message.
func message(t testing.TB, kind godbus.Type, member string, order binary.ByteOrder, body ...any) []byte {
	t.Helper()
	m := &godbus.Message{Type: kind, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath: godbus.MakeVariant(godbus.ObjectPath("/org/freedesktop/systemd1")),
	}, Body: body}
	if kind == godbus.TypeMethodReply {
		m.Headers[godbus.FieldReplySerial] = godbus.MakeVariant(uint32(7))
	} else {
		m.Headers[godbus.FieldInterface] = godbus.MakeVariant("org.freedesktop.systemd1.Manager")
		m.Headers[godbus.FieldMember] = godbus.MakeVariant(member)
	}
	if len(body) > 0 {
		m.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(body...))
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// from returns a connection that reads those bytes, after the authentication.
func from(in io.Reader) *answers {
	return &answers{in: bufio.NewReaderSize(in, 4<<10), begun: true}
}

// Answers come, and the ends of jobs; other signals do not, however long they are.
func TestAnswers(t *testing.T) {
	const signal, reply = godbus.TypeSignal, godbus.TypeMethodReply
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		var in, want []byte
		for _, m := range []struct {
			wanted bool
			bytes  []byte
		}{
			{false, message(t, signal, "UnitNew", order, "web@manager.service", godbus.ObjectPath("/a"))},
			{true, message(t, reply, "", order, "JobNew")},
			{true, message(t, reply, "", order)},
			{false, message(t, signal, "Reloading", order, true)},
			{false, message(t, signal, "PropertiesChanged", order, strings.Repeat("x", 100<<10))},
			{true, message(t, signal, "JobRemoved", order, uint32(1), godbus.ObjectPath("/job/1"), "a.service", "done")},
			{false, message(t, signal, "JobNew", order, "JobRemoved")},
			{true, message(t, reply, "", order, strings.Repeat("x", 100<<10))},
		} {
			in = append(in, m.bytes...)
			if m.wanted {
				want = append(want, m.bytes...)
			}
		}
		for _, reader := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			got, err := io.ReadAll(from(reader))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
			}
		}
		if _, err := io.ReadAll(from(bytes.NewReader(in[:len(in)-1]))); err != nil {
			t.Errorf("the end in a message: %v", err) // for its reader to see
		}
	}
}

// What comes before BEGIN is no message.
func TestAnswersAuthentication(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	a := &answers{Conn: client, in: bufio.NewReader(client)}
	lost := message(t, godbus.TypeSignal, "UnitNew", binary.LittleEndian)
	answer := message(t, godbus.TypeMethodReply, "", binary.LittleEndian)
	go func() {
		for _, step := range []struct{ expect, send string }{{"\x00", ""}, {"AUTH\r\n", "OK 1234\r\n"}, {"BEGIN\r\n", string(lost) + string(answer)}} {
			io.ReadFull(server, make([]byte, len(step.expect)))
			if step.send != "" { // a pipe waits for a reader of nothing
				io.WriteString(server, step.send)
			}
		}
		server.Close()
	}()
	read := make([]byte, 100)
	io.WriteString(a, "\x00")
	io.WriteString(a, "AUTH\r\n")
	if n, err := a.Read(read); err != nil || string(read[:n]) != "OK 1234\r\n" {
		t.Fatalf("read %q, %v", read[:n], err)
	}
	io.WriteString(a, "BEGIN\r\n")
	if rest, err := io.ReadAll(a); err != nil || !bytes.Equal(rest, answer) {
		t.Errorf("read %q, %v", rest, err)
	}
}

// Whatever comes, it neither panics nor reads for ever.
func FuzzAnswers(f *testing.F) {
	f.Add(message(f, godbus.TypeSignal, "UnitNew", binary.LittleEndian))
	f.Add(append(message(f, godbus.TypeMethodReply, "", binary.BigEndian, "x"), message(f, godbus.TypeSignal, "JobRemoved", binary.LittleEndian)...))
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := io.ReadAll(from(bytes.NewReader(in)))
		if len(out) > len(in) {
			t.Errorf("%d bytes of %d", len(out), len(in))
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			t.Error(err)
		}
	})
}
