package room

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/cork"
	"github.com/roomenv/roomenv/internal/wire"
)

const (
	// readyTimeout bounds the wait for room_ready and connected.
	readyTimeout = 30 * time.Second
	// pingInterval is also the timeout of a pong: a connection without one for twice
	// as long is closed.
	pingInterval = 30 * time.Second
	// closeTimeout bounds the write of a close frame to a room that does not read.
	closeTimeout = time.Second
)

// A Session is what a room reports when a client joins. All but Name may change with
// each connection.
type Session struct {
	RoomName      string
	RoomURL       string
	SessionID     string // the same for all participants at a time
	ParticipantID string // of this connection
	Name          string // identity in the token
}

// A connection is one WebSocket, from handshake to drop. One goroutine reads
// and one writes.
type connection struct {
	ws      *websocket.Conn
	cork    *cork.Cork // under ws
	session Session
	renew   chan struct{} // one slot: see [Client.Reconnect]

	frame   bytes.Buffer
	packets wire.Assembler
}

// next returns the next message.
func (k *connection) next(ctx context.Context) (wire.Message, error) {
	for {
		typ, r, err := k.ws.Reader(ctx)
		if err != nil {
			return wire.Message{}, err
		}
		if typ != websocket.MessageBinary {
			return wire.Message{}, fmt.Errorf("%w: a text frame", wire.ErrProtocol)
		}
		k.frame.Reset()
		if _, err := k.frame.ReadFrom(r); err != nil {
			return wire.Message{}, err
		}
		if m, done, err := k.packets.Add(k.frame.Bytes()); done || err != nil {
			return m, err
		}
	}
}

// enter reads until the room is ready, which two messages report, in either order
// (section 4.1). It passes all others to other.
func (k *connection) enter(ctx context.Context, other func(wire.Message)) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var room wire.RoomReady
	var us wire.Connected
	for ready, connected := false, false; !ready || !connected; {
		m, err := k.next(ctx)
		switch {
		case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
			return fmt.Errorf("%w by the room before it was ready", ErrClosed)
		case errors.Is(err, context.DeadlineExceeded) && !ready:
			return fmt.Errorf("not ready: no %s: %w", wire.TypeRoomReady, err)
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("not ready: no %s: %w", wire.TypeConnected, err)
		case err != nil:
			return fmt.Errorf("disconnected before the room was ready: %w", peerError{err})
		}
		switch m.Type {
		case wire.TypeRoomReady:
			err, ready = unpackJSON(m, &room), true
		case wire.TypeConnected:
			err = unpackJSON(m, &us)
			connected = us.Type == "init"
		default:
			other(m)
		}
		if err != nil {
			return err
		}
	}
	name, _ := us.Attributes["name"].(string)
	k.session = Session{room.RoomName, room.RoomURL, room.SessionID, us.ParticipantID, name}
	return nil
}

func unpackJSON(m wire.Message, v any) error {
	header, _, err := wire.Unpack(m.Payload)
	if err != nil {
		return err
	}
	if json.Unmarshal(header, v) != nil {
		return fmt.Errorf("%w: %s has fields of a wrong type", wire.ErrProtocol, m.Type)
	}
	return nil
}

// ping keeps the connection alive, and returns when the room does not respond.
func (k *connection) ping(ctx context.Context) error {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		pong, cancel := context.WithTimeout(ctx, pingInterval)
		err := k.ws.Ping(pong)
		cancel()
		if err != nil {
			return fmt.Errorf("no response to a ping: %w", err)
		}
	}
}

// close closes the connection, with a close frame if the client will not reconnect. It
// does not wait for the close frame of the room, which would cost a round trip.
func (k *connection) close(forGood bool) {
	if forGood {
		timer := time.AfterFunc(closeTimeout, func() { _ = k.cork.Close() })
		defer timer.Stop()
		k.cork.HangUp()
		_ = k.ws.Close(websocket.StatusNormalClosure, "")
	}
	_ = k.ws.CloseNow()
}
