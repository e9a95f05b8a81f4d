package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks QMP, QEMU's JSON control protocol, over one connection.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	in   *json.Decoder
}

type qmpMessage struct {
	Event  string          `json:"event"`
	QMP    json.RawMessage `json:"QMP"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// newMonitor takes the greeting and leaves the negotiation mode.
func newMonitor(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, in: json.NewDecoder(conn)}
	if err := m.execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, err
	}
	return m, nil
}

// execute runs one command and stores what it returns in result, unless nil.
// An error leaves the connection unusable when it is not QEMU's own answer.
func (m *monitor) execute(ctx context.Context, command string, arguments map[string]any, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	m.conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fmt.Errorf("qemu: %s: %w", command, err)
	}
	for {
		var answer qmpMessage
		if err := m.in.Decode(&answer); err != nil {
			return fmt.Errorf("qemu: %s: %w", command, err)
		}
		switch {
		case answer.Event != "" || answer.QMP != nil:
			continue
		case answer.Error != nil:
			return fmt.Errorf("qemu: %s: %s", command, answer.Error.Desc)
		case result != nil:
			return json.Unmarshal(answer.Return, result)
		}
		return nil
	}
}

// poll repeats a query until done says so.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// migrated waits for the end of a migration, in either direction.
func (m *monitor) migrated(ctx context.Context) error {
	return poll(ctx, 10*time.Millisecond, func() (bool, error) {
		var info struct {
			Status string `json:"status"`
			Error  string `json:"error-desc"`
		}
		if err := m.execute(ctx, "query-migrate", nil, &info); err != nil {
			return false, err
		}
		switch info.Status {
		case "completed":
			return true, nil
		case "failed", "cancelled":
			return false, fmt.Errorf("qemu: migration %s: %s", info.Status, info.Error)
		}
		return false, nil
	})
}

// save stops the machine and writes all of its state but the memory, which is
// in a shared file, to path.
func (m *monitor) save(ctx context.Context, path string) error {
	if err := m.execute(ctx, "stop", nil, nil); err != nil {
		return err
	}
	if err := m.ignoreSharedMemory(ctx); err != nil {
		return err
	}
	if err := m.execute(ctx, "migrate", map[string]any{"uri": "file:" + path}, nil); err != nil {
		return err
	}
	return m.migrated(ctx)
}

// load takes the state that save wrote into a machine that was started with
// "-incoming defer", and lets it run.
func (m *monitor) load(ctx context.Context, path string) error {
	if err := m.ignoreSharedMemory(ctx); err != nil {
		return err
	}
	if err := m.execute(ctx, "migrate-incoming", map[string]any{"uri": "file:" + path}, nil); err != nil {
		return err
	}
	// "cont" before the end would run a machine that is half there.
	if err := m.migrated(ctx); err != nil {
		return err
	}
	return m.execute(ctx, "cont", nil, nil)
}

func (m *monitor) ignoreSharedMemory(ctx context.Context) error {
	return m.execute(ctx, "migrate-set-capabilities", map[string]any{
		"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": true}},
	}, nil)
}
