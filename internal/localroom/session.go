package localroom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A session is one connection of a participant.
//
// Requests are carried out one after another by the goroutine that reads, and
// answered in their order; what a peer has in flight is bounded by its not
// being read meanwhile. Nothing in there may wait for another peer: a tool that
// does runs beside it, and what is sent to others is queued.
type session struct {
	server *Server
	room   *liveRoom
	who    token.Token
	id     string // participant id
	conn   *websocket.Conn
	log    *slog.Logger
	drop   context.CancelFunc // ends the session without a close frame

	waiting chan struct{} // a slot for each call of a tool that waits
	outbox  outbox
	streams streams // only the goroutine that reads looks at them

	presence // guarded by liveRoom.mu

	writing sync.Mutex // held for a whole message: packets of two never mix
	lastID  uint64     // of events; guarded by writing
}

// presence is what others see of a participant.
type presence struct {
	enabled    bool // messaging
	attributes wire.Attributes
	size       int // about the bytes that describe it to others
}

// maxWaiting is how many calls of tools that wait a connection may have in
// flight.
const maxWaiting = 256

func newSession(server *Server, room *liveRoom, who token.Token, conn *websocket.Conn) *session {
	id := uuid.NewString()
	return &session{
		server: server, room: room, who: who, id: id, conn: conn,
		log:     server.log.With("room", room.name, "participant", who.Name, "participant_id", id),
		waiting: make(chan struct{}, maxWaiting),
		outbox:  outbox{filled: make(chan struct{}, 1)},
		streams: streams{},

		presence: presence{attributes: wire.Attributes{"name": who.Name}, size: 200 + len(who.Name)},
	}
}

// run greets the peer and serves it until it goes, breaks the protocol, or ctx
// ends.
func (s *session) run(ctx context.Context, roomURL string) {
	ctx, s.drop = context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer s.drop()

	s.log.Info("participant came")
	err := s.greet(roomURL)
	if err == nil {
		s.room.join(s)
		defer s.room.leave(s)
		defer s.streams.stop()
		beside.Go(func() { s.ping(ctx) })
		beside.Go(func() { s.sendEvents(ctx) })
		err = s.read(ctx)
	}
	s.log.Info("participant went", "reason", err)
	switch {
	case errors.Is(err, errText):
		_ = s.conn.Close(websocket.StatusUnsupportedData, err.Error())
	case errors.Is(err, wire.ErrProtocol):
		_ = s.conn.Close(websocket.StatusProtocolError, fmt.Sprintf("%.100s", err))
	}
}

// greet comes before all else that the peer is sent.
func (s *session) greet(roomURL string) error {
	ready, err := newEvent(wire.TypeRoomReady, wire.RoomReady{RoomName: s.room.name, RoomURL: roomURL, SessionID: s.room.sessionID}, nil)
	if err != nil {
		return err
	}
	connected, err := newEvent(wire.TypeConnected, wire.Connected{Type: "init", ParticipantID: s.id, Attributes: s.attributes}, nil)
	if err != nil {
		return err
	}
	s.mustPost(ready)
	s.mustPost(connected)
	return nil
}

// ping finds peers that are gone without a word.
func (s *session) ping(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pong, cancel := context.WithTimeout(ctx, pingInterval)
		err := s.conn.Ping(pong)
		cancel()
		if err != nil {
			s.drop()
			return
		}
	}
}

var errText = errors.New("only binary frames are taken")

// read carries out messages until the connection ends.
func (s *session) read(ctx context.Context) error {
	s.conn.SetReadLimit(maxFrame)
	var in wire.Assembler
	var packet bytes.Buffer
	for {
		typ, r, err := s.conn.Reader(ctx)
		if err != nil {
			return err
		}
		if typ != websocket.MessageBinary {
			return errText
		}
		packet.Reset()
		if _, err := packet.ReadFrom(r); err != nil {
			return err
		}
		m, complete, err := in.Add(packet.Bytes())
		if err != nil {
			return err
		}
		if !complete {
			continue
		}
		if err := s.handle(ctx, m); err != nil {
			return err
		}
	}
}

// handle carries out one message. Every request gets exactly one response:
// clients wait for it without end (section 4.3).
func (s *session) handle(ctx context.Context, m wire.Message) error {
	switch m.Type {
	case wire.TypeResponse:
		return nil // to a request of ours, of which there are none
	case wire.TypeSetAttributes:
		header, _, err := wire.Unpack(m.Payload)
		if err != nil {
			return err
		}
		var changed wire.Attributes
		if json.Unmarshal(header, &changed) == nil { // but for numbers that are none of ours
			s.room.setAttributes(s, changed)
		}
		return nil
	}
	t, arguments, err := s.find(m)
	if err != nil {
		return s.fail(ctx, m.ID, err)
	}
	if !t.waits {
		return s.carryOut(ctx, m.ID, t, arguments)
	}
	select {
	case s.waiting <- struct{}{}:
	default:
		return s.fail(ctx, m.ID, refuse(wire.InvalidState, "%d requests of this connection wait already", maxWaiting))
	}
	// The server waits for it: it may outlive the session.
	s.server.tasks.Go(func() {
		defer func() { <-s.waiting }()
		if s.carryOut(ctx, m.ID, t, arguments) != nil {
			s.drop() // a response is missing
		}
	})
	return nil
}

// carryOut runs t for the request called id.
func (s *session) carryOut(ctx context.Context, id uint64, t tool, arguments wire.Content) error {
	c, err := t.run(ctx, s, arguments)
	if err != nil {
		return s.fail(ctx, id, err)
	}
	err = s.respond(ctx, id, c, t.before)
	if err == nil && t.then != nil {
		t.then(s)
	}
	return err
}

// find returns the tool that m calls.
func (s *session) find(m wire.Message) (tool, wire.Content, error) {
	switch m.Type {
	case wire.TypeInvokeTool:
		call, arguments, err := wire.UnpackInvoke(m.Payload)
		if err != nil {
			return tool{}, nil, err
		}
		t, err := s.tool(call, arguments)
		return t, arguments, err
	case wire.TypeRequestChunk:
		t, err := s.requestChunk(m.Payload)
		return t, nil, err
	case wire.TypeListToolkits:
		return tool{run: listToolkits}, nil, nil
	case "room.call":
		return tool{}, nil, refuse(wire.InvalidRequest, "this room does not call webhooks")
	}
	// Clients up to 0.29 had a message type for each tool, with its headers and
	// value where a call has its arguments.
	if name, ok := strings.CutPrefix(m.Type, wire.Secrets+"."); ok {
		header, trailer, err := wire.Unpack(m.Payload)
		if err != nil {
			return tool{}, nil, err
		}
		arguments := wire.Binary{Headers: header, Data: secret.New(trailer)}
		t, err := s.tool(wire.Invoke{Toolkit: wire.Secrets, Tool: name}, arguments)
		return t, arguments, err
	}
	return tool{}, nil, refuse(wire.NotFound, "this room does not know requests of type %.80q", m.Type)
}

// fail answers the request called id with err. What fails as the session ends is
// not answered: a client takes an error for the answer, and asks again when the
// connection drops.
func (s *session) fail(ctx context.Context, id uint64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var said wire.Error
	switch {
	case errors.As(err, &said):
	case errors.Is(err, wire.ErrProtocol), errors.Is(err, ErrInvalid):
		said = wire.Error{Code: wire.InvalidRequest, Text: err.Error()}
	case errors.Is(err, ErrNotFound):
		said = wire.Error{Code: wire.NotFound, Text: ErrNotFound.Error()}
	default: // which is not meant for the peer
		s.log.Error("request failed", "id", id, "reason", err)
		said = wire.Error{Code: wire.OperationFailed, Text: "the room cannot do this now: its log says why"}
	}
	s.log.Debug("request refused", "id", id, "reason", said.Text)
	return s.respond(ctx, id, said, nil)
}

// respond answers the request called id, after all that was posted before: what
// a response tells of others, their news told already. What is posted by
// before, if any, or since follows it.
func (s *session) respond(ctx context.Context, id uint64, c wire.Content, before func(*session)) error {
	payload, err := wire.PackContent(c)
	if err != nil {
		payload, err = wire.PackContent(wire.Error{Code: wire.OperationFailed, Text: "the answer does not fit into a message"})
	}
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.flush(ctx); err != nil {
		return err
	}
	if before != nil {
		before(s)
	}
	return s.write(ctx, wire.Message{ID: id, Type: wire.TypeResponse, Payload: payload})
}

// write sends m; the caller holds the lock. A peer that does not read is
// dropped by the deadline.
func (s *session) write(ctx context.Context, m wire.Message) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	for packet := range m.Packets() {
		if err := s.conn.Write(ctx, websocket.MessageBinary, packet); err != nil {
			return err
		}
	}
	return nil
}
