package localroom

import (
	"context"

	"github.com/roomenv/roomenv/internal/wire"
)

const (
	// maxStreams is how many streams a connection may have open.
	maxStreams = 16
	// maxCallID is the longest tool_call_id of a stream, in bytes.
	maxCallID = 128
)

// A streamFunc begins to send, which waits for nobody. When stop has returned it
// sends no more.
type streamFunc = func(caller *session, send func(wire.Content)) (stop func())

// streams holds what stops each open stream, by tool_call_id.
type streams map[string]func()

func (s streams) stop() {
	for _, stop := range s {
		stop()
	}
}

// opening is t, called so that it opens a stream. Its run is asked whether it
// may be.
func (s *session) opening(call wire.Invoke, arguments wire.Content, t tool) (tool, error) {
	open, _ := arguments.(wire.Control)
	id := call.ToolCallID
	switch {
	case open.Method != wire.Open:
		return tool{}, refuse(wire.InvalidRequest, "%s is a stream: its arguments are a control with the method open", call.Tool)
	case id == "" || len(id) > maxCallID:
		return tool{}, refuse(wire.InvalidRequest, "a stream has a tool_call_id of 1 to %d bytes", maxCallID)
	case s.streams[id] != nil:
		return tool{}, refuse(wire.AlreadyExists, "the tool_call_id is that of an open stream")
	case len(s.streams) >= maxStreams:
		return tool{}, refuse(wire.InvalidState, "%d streams of this connection are open already", maxStreams)
	}
	t.before = func(s *session) {
		s.streams[id] = t.stream(s, func(c wire.Content) { s.sendChunk(id, c) })
	}
	return t, nil
}

// sendChunk posts a piece of the stream called id.
func (s *session) sendChunk(id string, c wire.Content) {
	payload, err := wire.PackChunk(id, c)
	if err != nil {
		s.log.Error("cannot send a piece of a stream", "reason", err)
		s.drop()
		return
	}
	s.mustPost(event{wire.TypeResponseChunk, payload})
}

// requestChunk is what a piece of a stream from the caller does: it can only
// close it.
func (s *session) requestChunk(payload []byte) (tool, error) {
	id, c, err := wire.UnpackChunk(payload)
	stop := s.streams[id]
	control, _ := c.(wire.Control)
	switch {
	case stop == nil:
		return tool{}, refuse(wire.NotFound, "no such stream is open")
	case err != nil:
		return tool{}, err
	case control.Method != wire.Close:
		return tool{}, refuse(wire.InvalidRequest, "the stream takes nothing but a control with the method close")
	}
	return tool{
		run: func(context.Context, *session, wire.Content) (wire.Content, error) {
			stop()
			delete(s.streams, id)
			return wire.Empty{}, nil
		},
		then: func(s *session) {
			s.sendChunk(id, wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal})
		},
	}, nil
}
