package room_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A script plays the room on one connection, the n-th from 0. When it returns
// the connection is dropped without a close frame.
type script func(p *peer, n int)

// A peer is the room's end of a connection.
type peer struct {
	t  testing.TB
	ws *websocket.Conn

	packets wire.Assembler
	lastID  uint64
}

// scripted serves scripts; it counts connections from 0.
func scripted(t testing.TB, s script) http.Handler {
	var mu sync.Mutex
	connections := 0
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(-1)
		mu.Lock()
		n := connections
		connections++
		mu.Unlock()
		s(&peer{t: t, ws: ws}, n)
	})
}

// listen serves h on a socket of the loopback.
func listen(t testing.TB, h http.Handler) room.Config {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return room.Config{URL: s.URL + "/rooms/demo"}
}

// listenInBubble serves h on pipes, which a synctest bubble understands.
func listenInBubble(t testing.TB, h http.Handler) room.Config {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return room.Config{URL: "http://pipes/rooms/demo", DialContext: l.dial}
}

type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// dial is room.Dial, closed with the test.
func dial(t testing.TB, config room.Config) *room.Client {
	t.Helper()
	c, err := room.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *peer) send(m wire.Message) {
	for packet := range m.Packets() {
		if p.ws.Write(context.Background(), websocket.MessageBinary, packet) != nil {
			return // the client left; its side of the test says whether it should
		}
	}
}

// event sends a message of our own.
func (p *peer) event(typ string, header any, trailer string) {
	b, err := json.Marshal(header)
	if err != nil {
		p.t.Error(err)
	}
	p.lastID++
	p.send(wire.Message{ID: p.lastID, Type: typ, Payload: wire.Pack(b, []byte(trailer))})
}

func (p *peer) roomReady() {
	p.event(wire.TypeRoomReady, wire.RoomReady{RoomName: "demo", RoomURL: "ws://x/rooms/demo", SessionID: "s"}, "")
}

func (p *peer) connected() {
	p.event(wire.TypeConnected, wire.Connected{Type: "init", ParticipantID: "p", Attributes: map[string]any{"name": "alice"}}, "")
}

func (p *peer) ready() {
	p.roomReady()
	p.connected()
}

// A call is a request as it came.
type call struct {
	id uint64
	wire.Invoke
	arguments wire.Content
}

// next returns the next request, and false when the client has left.
func (p *peer) next() (call, bool) {
	for {
		_, b, err := p.ws.Read(context.Background())
		if err != nil {
			return call{}, false
		}
		m, done, err := p.packets.Add(b)
		if err != nil {
			p.t.Error(err)
			return call{}, false
		}
		if !done {
			continue
		}
		if m.Type == wire.TypeRequestChunk {
			id, content, err := wire.UnpackChunk(m.Payload)
			if err != nil {
				p.t.Error(err)
			}
			return call{m.ID, wire.Invoke{Tool: m.Type, ToolCallID: id}, content}, true
		}
		invoke, arguments, err := wire.UnpackInvoke(m.Payload)
		if err != nil || m.Type != wire.TypeInvokeTool {
			p.t.Errorf("got %v: %v", m, err)
		}
		return call{m.ID, invoke, arguments}, true
	}
}

// id is the secret_id that c asks for.
func (c call) secretID() string {
	var q wire.GetArguments
	if a, ok := c.arguments.(wire.JSON); ok {
		_ = json.Unmarshal(a.Object, &q)
	}
	return string(q.SecretID)
}

func (p *peer) answer(id uint64, c wire.Content) {
	payload, err := wire.PackContent(c)
	if err != nil {
		p.t.Error(err)
	}
	p.send(wire.Message{ID: id, Type: wire.TypeResponse, Payload: payload})
}

// open answers c, which opens a stream, and sends it pieces.
func (p *peer) open(c call, pieces ...wire.Content) {
	p.answer(c.id, wire.Control{Method: wire.Open})
	for _, piece := range pieces {
		p.chunk(c.ToolCallID, piece)
	}
}

// chunk sends a piece of a stream.
func (p *peer) chunk(callID string, c wire.Content) {
	payload, err := wire.PackChunk(callID, c)
	if err != nil {
		p.t.Error(err)
	}
	p.lastID++
	p.send(wire.Message{ID: p.lastID, Type: wire.TypeResponseChunk, Payload: payload})
}

// serve answers requests with f until the client leaves.
func (p *peer) serve(f func(call) wire.Content) {
	for c, ok := p.next(); ok; c, ok = p.next() {
		p.answer(c.id, f(c))
	}
}

// hold reads until the client leaves.
func (p *peer) hold() {
	for _, ok := p.next(); ok; _, ok = p.next() {
	}
}

// soon fails a test that would hang in place of the run.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
