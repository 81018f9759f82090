package local

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

	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/room/wire"
	"github.com/roomenv/roomenv/secret"
)

// A session is one connection of a participant.
//
// Requests are carried out one after another by the goroutine that reads, and
// answered in their order; what a peer has in flight is bounded by its not
// being read meanwhile. Nothing in here may wait for another peer: a tool that
// does belongs in a goroutine of its own that ends with [session.respond],
// which is safe for concurrent use.
type session struct {
	server *Server
	room   *activation
	who    token.Token
	id     string // participant id
	conn   *websocket.Conn
	log    *slog.Logger

	writing sync.Mutex // held for a whole message: packets of two never mix
	lastID  uint64     // of messages that are no response; guarded by writing
}

func newSession(server *Server, room *activation, who token.Token, conn *websocket.Conn) *session {
	id := uuid.NewString()
	return &session{
		server: server, room: room, who: who, id: id, conn: conn,
		log: server.log.With("room", room.name, "participant", who.Name, "participant_id", id),
	}
}

// run greets the peer and serves it until it goes, breaks the protocol, or ctx
// ends.
func (s *session) run(ctx context.Context, roomURL string) {
	ctx, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	pinging.Go(func() { s.ping(ctx, cancel) })
	defer pinging.Wait()
	defer cancel()

	s.log.Info("participant came")
	err := errors.Join(
		s.event(ctx, wire.TypeRoomReady, wire.RoomReady{RoomName: s.room.name, RoomURL: roomURL, SessionID: s.room.sessionID}),
		s.event(ctx, wire.TypeConnected, wire.Connected{Type: "init", ParticipantID: s.id, Attributes: map[string]any{"name": s.who.Name}}))
	if err == nil {
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

// ping finds peers that are gone without a word.
func (s *session) ping(ctx context.Context, gone context.CancelFunc) {
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
			gone()
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
		// Nobody can see them before there is messaging, so they are not kept.
		_, _, err := wire.Unpack(m.Payload)
		return err
	}
	c, err := s.request(ctx, m)
	if err != nil {
		s.log.Debug("request failed", "message", m, "reason", err)
		c = errorContent(err)
	}
	return s.respond(ctx, m.ID, c)
}

func (s *session) request(ctx context.Context, m wire.Message) (wire.Content, error) {
	switch m.Type {
	case wire.TypeInvokeTool:
		call, arguments, err := wire.UnpackInvoke(m.Payload)
		if err != nil {
			return nil, err
		}
		return s.invoke(ctx, call, arguments)
	case wire.TypeListToolkits:
		return s.server.listToolkits()
	case "room.call":
		return nil, wire.Error{Code: wire.InvalidRequest, Text: "this room does not call webhooks"}
	}
	// Clients up to 0.29 had a message type for each tool, with its headers and
	// value where a call has its arguments (section 6.2).
	if tool, ok := strings.CutPrefix(m.Type, wire.Secrets+"."); ok {
		header, trailer, err := wire.Unpack(m.Payload)
		if err != nil {
			return nil, err
		}
		return s.invoke(ctx, wire.Invoke{Toolkit: wire.Secrets, Tool: tool}, wire.Binary{Headers: header, Data: secret.New(trailer)})
	}
	return nil, wire.Error{Code: wire.NotFound, Text: fmt.Sprintf("this room does not know requests of type %.80q", m.Type)}
}

// errorContent is what a peer is told. Only what is meant for it passes.
func errorContent(err error) wire.Error {
	var said wire.Error
	switch {
	case errors.As(err, &said):
		return said
	case errors.Is(err, wire.ErrProtocol):
		return wire.Error{Code: wire.InvalidRequest, Text: err.Error()}
	}
	return wire.Error{Code: wire.OperationFailed, Text: "the room cannot do this now: its log says why"}
}

// respond answers the request called id.
func (s *session) respond(ctx context.Context, id uint64, c wire.Content) error {
	payload, err := wire.PackContent(c)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.write(ctx, wire.Message{ID: id, Type: wire.TypeResponse, Payload: payload})
}

// event sends what is no response.
func (s *session) event(ctx context.Context, typ string, header any) error {
	h, err := json.Marshal(header)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.lastID++
	return s.write(ctx, wire.Message{ID: s.lastID, Type: typ, Payload: wire.Pack(h, nil)})
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
