package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// privateSocket is where systemd itself speaks D-Bus with root.
const privateSocket = "/run/systemd/private"

// connectPrivately connects to systemd itself.
func connectPrivately(ctx context.Context) (*dbus.Conn, error) {
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", privateSocket)
	if err != nil {
		return nil, err
	}
	conn, err := godbus.NewConn(&answers{Conn: socket, in: bufio.NewReaderSize(socket, 32<<10)}, godbus.WithContext(ctx))
	if err != nil {
		socket.Close()
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	// It wants a connection for calls and one for signals, each of which would get all signals.
	return dbus.NewConnection(func() (*godbus.Conn, error) { return conn, nil })
}

// answers is a connection to systemd's private socket without the signals that none of
// the helpers waits for. systemd sends all of them there, asked or not: a message for
// each change of a unit, and several for each unit at a reload. To decode these took
// clients more time than all else they do.
type answers struct {
	net.Conn
	in    *bufio.Reader
	begun bool // messages come, no longer the lines of the authentication
	left  int  // bytes of the message that is being read
}

func (a *answers) Write(p []byte) (int, error) {
	if !a.begun && bytes.Equal(p, []byte("BEGIN\r\n")) {
		a.begun = true // before there is another reader
	}
	return a.Conn.Write(p)
}

func (a *answers) Read(p []byte) (int, error) {
	if !a.begun {
		return a.in.Read(p)
	}
	for a.left == 0 {
		length, wanted, err := a.next()
		if err != nil {
			return 0, err
		}
		if wanted {
			a.left = length
		} else if _, err := io.CopyN(io.Discard, a.in, int64(length)); err != nil {
			return 0, err
		}
	}
	n, err := a.in.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// next returns the length of the next message, and whether it is wanted.
func (a *answers) next() (length int, wanted bool, err error) {
	const fixed, signal, longest = 16, 4, 128 << 20
	head, err := a.in.Peek(fixed)
	if err != nil {
		return 0, false, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 'B' {
		order = binary.BigEndian
	}
	body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	if body > longest || fields > longest {
		return 0, false, fmt.Errorf("a message of systemd's has %d and %d bytes", fields, body)
	}
	length = fixed + (int(fields)+7)&^7 + int(body)
	if head[1] != signal {
		return length, true, nil
	}
	head, err = a.in.Peek(min(fixed+int(fields), a.in.Size()))
	return length, bytes.Contains(head, []byte("JobRemoved\x00")), err
}
