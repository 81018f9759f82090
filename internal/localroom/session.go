package localroom

import (
	"cmp"
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
	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A session is one connection of a participant.
//
// The goroutine that reads executes calls one after another and responds in their
// order, so that a peer is not read while one of its calls runs. None of that may wait
// for another peer: tools that do run in other goroutines, and events to others are
// queued.
type session struct {
	server    *Server
	room      *liveRoom
	allowance *allowance
	who       token.Token
	id        string // participant id
	remote    string // address
	conn      *websocket.Conn
	log       *slog.Logger
	drop      context.CancelFunc // closes the connection without a close frame

	waiting chan struct{} // a slot for each call of a tool that waits for others
	outbox  outbox
	streams streams // for the goroutine that reads

	presence // guarded by liveRoom.mu

	writing sync.Mutex // held for a whole message: packets of two must not mix
	lastID  uint64     // of events; guarded by writing
}

// presence is what other participants see of one.
type presence struct {
	enabled    bool // messaging
	attributes wire.Attributes
	size       int // of its description, in bytes, roughly
}

// maxWaiting bounds the calls of a connection that wait for others.
const maxWaiting = 256

func newSession(server *Server, room *liveRoom, allowance *allowance, who token.Token, conn *websocket.Conn) *session {
	id := uuid.NewString()
	return &session{
		server: server, room: room, allowance: allowance, who: who, id: id, conn: conn,
		log:     server.log.With("room", room.name, "participant", who.Name, "participant_id", id),
		waiting: make(chan struct{}, maxWaiting),
		outbox:  outbox{allowance: allowance, filled: make(chan struct{}, 1)},
		streams: streams{},

		presence: presence{attributes: wire.Attributes{"name": who.Name}, size: 200 + len(who.Name)},
	}
}

// run serves the peer until it disconnects or breaks the protocol, or ctx ends.
func (s *session) run(ctx context.Context, roomURL string) {
	ctx, s.drop = context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer s.outbox.close()
	defer s.drop()

	s.log.Info("participant joined", "token_id", s.who.ID)
	err := s.audit("join", nil, "ok")
	if err == nil {
		err = s.greet(roomURL)
	}
	if err == nil {
		s.room.join(s)
		defer s.room.leave(s)
		if !s.who.Expires.IsZero() {
			expiry := time.AfterFunc(s.who.Expires.Sub(s.server.now()), func() { s.end("expired") })
			defer expiry.Stop()
		}
		if s.server.checkRevoked(s.who) != nil { // since it was checked
			s.end("revoked")
		}
		defer s.streams.stop()
		beside.Go(func() { s.ping(ctx) })
		beside.Go(func() { s.sendEvents(ctx) })
		err = s.read(ctx)
	}
	s.log.Info("participant left", "reason", err)
	switch {
	case errors.Is(err, errAudit):
		_ = s.conn.Close(websocket.StatusTryAgainLater, errAudit.Text)
	case errors.Is(err, errText):
		_ = s.conn.Close(websocket.StatusUnsupportedData, err.Error())
	case errors.Is(err, wire.ErrProtocol):
		_ = s.conn.Close(websocket.StatusProtocolError, fmt.Sprintf("%.100s", err))
	}
}

// end drops a participant whose token is no longer valid. It may have a different one
// when it reconnects.
func (s *session) end(token string) {
	s.log.Info("participant dropped", "token", token)
	s.drop()
}

// greet queues the first messages to a peer.
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

// ping drops a peer that does not answer.
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

var errText = errors.New("only binary frames are accepted")

// read executes messages until the connection closes.
func (s *session) read(ctx context.Context) error {
	s.conn.SetReadLimit(maxFrame)
	in := incoming{session: s}
	defer in.stop()
	for {
		typ, r, err := s.conn.Reader(ctx)
		if err != nil {
			return err
		}
		if typ != websocket.MessageBinary {
			return errText
		}
		m, complete, err := in.add(ctx, r)
		if err != nil {
			return err
		}
		if !complete {
			continue
		}
		if err := s.handle(ctx, m); err != nil {
			return err
		}
		in.release()
	}
}

// handle executes one message. Every call gets exactly one response: clients wait for
// it without a timeout (section 4.3).
func (s *session) handle(ctx context.Context, m wire.Message) error {
	if m.Type == wire.TypeResponse {
		return nil // the server makes no calls
	}
	a := s.server.auditLog
	ready := a == nil || !a.sync || a.ready() == nil
	if m.Type == wire.TypeSetAttributes { // which has no response
		if !ready {
			return errAudit
		}
		header, _, err := wire.Unpack(m.Payload)
		if err != nil {
			return err
		}
		var changed wire.Attributes
		if err = json.Unmarshal(header, &changed); err != nil {
			err = refuse(wire.InvalidRequest, "a number is out of range")
		} else {
			err = s.room.setAttributes(s, changed)
		}
		return s.audit(m.Type, nil, resultOf(m.Type, nil, err))
	}
	if !ready {
		return s.fail(ctx, m.ID, errAudit)
	}
	t, arguments, err := s.find(m)
	if err != nil {
		return s.refuse(ctx, m.ID, cmp.Or(t.name, m.Type), arguments, err)
	}
	if !t.waits {
		return s.carryOut(ctx, m.ID, t, arguments)
	}
	select {
	case s.waiting <- struct{}{}:
	default:
		return s.refuse(ctx, m.ID, t.name, arguments, refuse(wire.InvalidState, "too many pending calls: the limit is %d", maxWaiting))
	}
	size := int64(len(m.Payload))
	if !s.allowance.own.TryAcquire(size) {
		<-s.waiting
		return s.refuse(ctx, m.ID, t.name, arguments, errBusy)
	}
	// It may outlive the session, but not the server.
	s.server.tasks.Go(func() {
		defer func() {
			s.allowance.own.Release(size)
			<-s.waiting
		}()
		if s.carryOut(ctx, m.ID, t, arguments) != nil {
			s.drop() // a response is missing
		}
	})
	return nil
}

// errBusy is for identities that have used up their bytes.
var errBusy = wire.Error{Code: wire.InvalidState, Text: "too much data of this identity is pending or unread, try again later"}

// carryOut runs t for the call with this id, and responds. A large response counts
// until it is written; the server does not hold one while it waits for that to be
// possible, but runs t again.
func (s *session) carryOut(ctx context.Context, id uint64, t tool, arguments wire.Content) error {
	free := int64(freeBytes)
	if t.waits {
		free = 0 // a connection has many
	}
	var held int64
	defer func() {
		if held > 0 {
			s.allowance.release(held)
		}
	}()
	for {
		c, err := t.run(ctx, s, arguments)
		if audit := s.audit(t.name, arguments, resultOf(t.name, c, err)); audit != nil && ctx.Err() == nil {
			err = audit
		}
		if err != nil {
			return s.fail(ctx, id, err)
		}
		size := contentSize(c)
		if size <= max(free, held) {
			return s.respond(ctx, id, c, t.post)
		}
		if held > 0 { // it is larger than the first time
			s.allowance.release(held)
			held = 0
		}
		switch {
		case s.allowance.try(size):
			held = size
			return s.respond(ctx, id, c, t.post)
		case !t.reads:
			return s.fail(ctx, id, errBusy)
		}
		if err := s.allowance.acquire(ctx, size); err != nil {
			return err
		}
		held = size
	}
}

// contentSize returns the size of content that may be large, in bytes.
func contentSize(c wire.Content) int64 {
	switch c := c.(type) {
	case wire.File:
		return int64(c.Data.Len())
	case wire.JSON:
		return int64(len(c.Object))
	}
	return 0
}

// find returns the tool that m calls. With an error it has at most the name.
func (s *session) find(m wire.Message) (tool, wire.Content, error) {
	switch m.Type {
	case wire.TypeInvokeTool:
		call, arguments, err := wire.UnpackInvoke(m.Payload)
		if err != nil {
			return tool{}, nil, err
		}
		t, err := s.tool(call, arguments)
		t.name = call.Toolkit + "." + call.Tool
		return t, arguments, err
	case wire.TypeRequestChunk:
		t, err := s.requestChunk(m.Payload)
		return t, nil, err
	case wire.TypeListToolkits:
		return tool{name: "list_toolkits", run: listToolkits}, nil, nil
	case "room.call":
		return tool{}, nil, refuse(wire.InvalidRequest, "webhooks are not supported")
	}
	// Clients up to 0.29 have a message type for each tool, with its arguments as
	// header and trailer.
	if name, ok := strings.CutPrefix(m.Type, wire.Secrets+"."); ok {
		header, trailer, err := wire.Unpack(m.Payload)
		if err != nil {
			return tool{}, nil, err
		}
		arguments := wire.Binary{Headers: header, Data: secret.New(trailer)}
		t, err := s.tool(wire.Invoke{Toolkit: wire.Secrets, Tool: name}, arguments)
		t.name = m.Type
		return t, arguments, err
	}
	return tool{}, nil, refuse(wire.NotFound, "unknown message type %.80q", m.Type)
}

// refuse records a call that is not carried out, and responds with err.
func (s *session) refuse(ctx context.Context, id uint64, operation string, arguments wire.Content, err error) error {
	if audit := s.audit(operation, arguments, resultOf(operation, nil, err)); audit != nil {
		err = audit
	}
	return s.fail(ctx, id, err)
}

// fail responds with err to the call with this id. There is no response while the
// session ends: clients send a call again if the connection drops, but not after an
// error.
func (s *session) fail(ctx context.Context, id uint64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	said := failure(err)
	if said.Code == wire.OperationFailed && !errors.As(err, new(wire.Error)) {
		s.log.Error("call failed", "id", id, "reason", err)
	}
	s.log.Debug("call refused", "id", id, "reason", said.Text)
	return s.respond(ctx, id, said, nil)
}

// failure is what a peer gets to know of err.
func failure(err error) (said wire.Error) {
	switch {
	case errors.As(err, &said):
	case errors.Is(err, wire.ErrProtocol), errors.Is(err, ErrInvalid):
		said = wire.Error{Code: wire.InvalidRequest, Text: err.Error()}
	case errors.Is(err, errQuota):
		said = wire.Error{Code: wire.InvalidState, Text: err.Error()}
	case errors.Is(err, ErrNotFound):
		said = wire.Error{Code: wire.NotFound, Text: ErrNotFound.Error()}
	default: // may have details that are not for the peer
		said = wire.Error{Code: wire.OperationFailed, Text: "internal error; see the log of the room"}
		for _, cause := range storageErrors {
			if errors.Is(err, cause) {
				said.Text = "the room cannot store data: " + cause.Error()
			}
		}
	}
	return said
}

// storageErrors are what is wrong with the disk of a room rather than with a request.
var storageErrors = []error{
	unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.EROFS, unix.EIO, ErrDamaged, ErrReadOnly,
}

// respond sends the response to the call with this id, after the events that were
// posted before. Those of post, if any, follow it.
func (s *session) respond(ctx context.Context, id uint64, c wire.Content, post func(*session)) error {
	payload, err := wire.PackContent(c)
	if err != nil {
		payload, err = wire.PackContent(wire.Error{Code: wire.OperationFailed, Text: "the response does not fit into a message"})
	}
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.flush(ctx); err != nil {
		return err
	}
	if post != nil {
		post(s)
	}
	return s.write(ctx, wire.Message{ID: id, Type: wire.TypeResponse, Payload: payload})
}

// write sends m. The caller holds s.writing. A ping drops a peer that does not read.
func (s *session) write(ctx context.Context, m wire.Message) error {
	for packet := range m.Packets() {
		if err := s.conn.Write(ctx, websocket.MessageBinary, packet); err != nil {
			return err
		}
	}
	return nil
}
