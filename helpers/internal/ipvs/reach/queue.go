package reach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A queue is where the kernel keeps packets that a rule has sent there, until it gets a
// verdict. It drops them when this process ends, and also when any program removes a base
// chain of nftables.
type queue struct {
	conn   *netlink.Conn
	number uint16

	mu      sync.Mutex
	packets []queued
	begun   map[string]int // the index of a TCP connection's packet
}

// queued is a packet in the queue.
type queued struct {
	id    uint32
	came  time.Time
	bytes []byte // from the IP header on; nil when they do not matter
}

// See linux/netfilter/nfnetlink_queue.h.
const (
	queueSubsystem = 3 << 8
	queueVerdict   = queueSubsystem | 1
	queueConfig    = queueSubsystem | 2
	queueVerdicts  = queueSubsystem | 3 // on all packets up to one

	configCommand = 1
	configCopy    = 2
	configLength  = 3
	commandBind   = 1
	copyPacket    = 2

	packetHeader  = 1
	packetVerdict = 2
	packetBytes   = 10
	packetLength  = 13 // only where there are more bytes than were copied

	drop   = 0
	accept = 1 // the packet continues
)

const (
	// firstQueue is far from the small numbers that people choose.
	firstQueue = 47001
	queues     = 100
	// longest is how many packets a queue may hold. The first one of a connection takes
	// less than 1 KiB.
	longest = 1 << 14
	// seen is how many bytes of a packet this process gets: the first one of a connection
	// is shorter.
	seen = 256
)

// openQueue returns a queue that no other process uses.
func openQueue() (*queue, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a queue for packets: %w", err)
	}
	// When too many packets come at once, the message about one gets lost, not the
	// packet.
	_ = conn.SetOption(netlink.NoENOBUFS, true)
	q := &queue{conn: conn, number: firstQueue, begun: make(map[string]int)}
	// A queue of another process is also reported as not permitted.
	for err = q.bind(); errors.Is(err, unix.EPERM) && q.number < firstQueue+queues; err = q.bind() {
		q.number++
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a queue for packets: %w", err)
	}
	go q.receive()
	return q, nil
}

// bind makes the queue this process's own.
func (q *queue) bind() error {
	if err := q.configure(configCommand, []byte{commandBind, 0, 0, 0}); err != nil {
		return err
	}
	return errors.Join(
		q.configure(configCopy, append(binary.BigEndian.AppendUint32(nil, seen), copyPacket)),
		q.configure(configLength, binary.BigEndian.AppendUint32(nil, longest)))
}

// receive records packets until the queue is closed.
func (q *queue) receive() {
	for {
		messages, err := q.conn.Receive()
		if err != nil {
			return
		}
		for _, m := range messages {
			if p, ok := parseQueued(m.Data); ok {
				q.add(p)
			}
		}
	}
}

// parseQueued reads a message about a packet.
func parseQueued(message []byte) (p queued, ok bool) {
	if len(message) < 4 {
		return p, false
	}
	attributes, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return p, false
	}
	whole := true
	for attributes.Next() {
		switch data := attributes.Bytes(); attributes.Type() {
		case packetHeader:
			if ok = len(data) >= 4; ok {
				p.id = binary.BigEndian.Uint32(data)
			}
		case packetBytes:
			p.bytes = data
		case packetLength:
			whole = false
		}
	}
	if !whole {
		p.bytes = nil
	}
	p.came = time.Now()
	return p, ok && attributes.Err() == nil
}

// add records a packet. A client that waits sends its first packet again: the last copy
// is enough, and it exists even if the kernel has dropped the others.
func (q *queue) add(p queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	connection, ok := connectionOf(p.bytes)
	if !ok {
		p.bytes = nil
	} else if i, again := q.begun[connection]; again {
		_ = q.decide(q.packets[i].id, drop, nil) // if that fails, it continues with the others
		q.packets[i] = p
		return
	} else {
		q.begun[connection] = len(q.packets)
	}
	q.packets = append(q.packets, p)
}

// length returns how many packets are in the queue.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.packets)
}

// patience is how long a client waits for an answer before it sends its first packet
// again.
const patience = time.Second

// acceptAll lets all packets in the queue continue.
//
// A client takes the time from its packet to the answer for the distance, and waits
// several times as long before it resends anything that gets lost. It knows better only
// if it sent its first packet more than once, and if that carries no timestamp: the
// answer would echo that of the packet that waited longest.
func (q *queue) acceptAll() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var problems []error
	for _, p := range q.packets {
		if time.Since(p.came) <= patience {
			continue
		}
		if changed, ok := withoutTime(p.bytes); ok {
			problems = append(problems, q.decide(p.id, accept, changed))
		}
	}
	q.packets, q.begun = nil, make(map[string]int)
	// Also those that no message told of.
	const last = 1<<31 - 1 // they are numbered from 1
	return errors.Join(append(problems, q.send(queueVerdicts, netlink.Attribute{Type: packetVerdict, Data: verdict(accept, last)}))...)
}

// decide gives the verdict on a packet, and its new content, if any.
func (q *queue) decide(id, what uint32, bytes []byte) error {
	attributes := []netlink.Attribute{{Type: packetVerdict, Data: verdict(what, id)}}
	if bytes != nil {
		attributes = append(attributes, netlink.Attribute{Type: packetBytes, Data: bytes})
	}
	return q.send(queueVerdict, attributes...)
}

func verdict(what, id uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, what), id)
}

// send sends a message that gets no answer.
func (q *queue) send(kind netlink.HeaderType, attributes ...netlink.Attribute) error {
	m, err := q.message(kind, attributes...)
	if err == nil {
		_, err = q.conn.Send(m)
	}
	if err != nil {
		return fmt.Errorf("let packets continue: %w", err)
	}
	return nil
}

// configure changes the queue, and waits until the kernel has done so.
func (q *queue) configure(attribute uint16, value []byte) error {
	m, err := q.message(queueConfig, netlink.Attribute{Type: attribute, Data: value})
	if err != nil {
		return err
	}
	m.Header.Flags |= netlink.Acknowledge
	_, err = q.conn.Execute(m)
	return err
}

func (q *queue) message(kind netlink.HeaderType, attributes ...netlink.Attribute) (netlink.Message, error) {
	// The family, which does not matter, the version, and the queue's number.
	data := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, 0}, q.number)
	encoded, err := netlink.MarshalAttributes(attributes)
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request}, Data: append(data, encoded...)}, err
}

func (q *queue) close() error { return q.conn.Close() }
