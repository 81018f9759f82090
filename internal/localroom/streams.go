package localroom

import (
	"context"

	"github.com/roomenv/roomenv/internal/wire"
)

const (
	// maxStreams bounds the open streams of a connection.
	maxStreams = 16
	// maxCallID bounds the tool_call_id of a stream, in bytes.
	maxCallID = 128
)

// A streamFunc starts to send, which does not block. It does not send after stop has
// returned.
type streamFunc = func(caller *session, send func(wire.Content)) (stop func())

// streams has the stop function of each open stream, by tool_call_id.
type streams map[string]func()

func (s streams) stop() {
	for _, stop := range s {
		stop()
	}
}

// opening returns t as a tool that opens a stream, if its run permits it.
func (s *session) opening(call wire.Invoke, arguments wire.Content, t tool) (tool, error) {
	open, _ := arguments.(wire.Control)
	id := call.ToolCallID
	switch {
	case open.Method != wire.Open:
		return tool{}, refuse(wire.InvalidRequest, "%s is a stream: want a control with the method open as arguments", call.Tool)
	case id == "" || len(id) > maxCallID:
		return tool{}, refuse(wire.InvalidRequest, "want a tool_call_id of 1 to %d bytes", maxCallID)
	case s.streams[id] != nil:
		return tool{}, refuse(wire.AlreadyExists, "a stream with this tool_call_id is open")
	case len(s.streams) >= maxStreams:
		return tool{}, refuse(wire.InvalidState, "too many open streams: the limit is %d", maxStreams)
	}
	t.post = func(s *session) {
		s.streams[id] = t.stream(s, func(c wire.Content) { s.sendChunk(id, c) })
	}
	return t, nil
}

// sendChunk posts a chunk of the stream called id.
func (s *session) sendChunk(id string, c wire.Content) {
	payload, err := wire.PackChunk(id, c)
	if err != nil {
		s.log.Error("send stream chunk", "reason", err)
		s.drop()
		return
	}
	s.mustPost(event{wire.TypeResponseChunk, payload})
}

// requestChunk returns a tool for a chunk that a caller sends: it closes the stream.
func (s *session) requestChunk(payload []byte) (tool, error) {
	id, c, err := wire.UnpackChunk(payload)
	stop := s.streams[id]
	control, _ := c.(wire.Control)
	switch {
	case stop == nil:
		return tool{}, refuse(wire.NotFound, "no stream with this tool_call_id is open")
	case err != nil:
		return tool{}, err
	case control.Method != wire.Close:
		return tool{}, refuse(wire.InvalidRequest, "want a control with the method close")
	}
	return tool{
		name: "close_stream",
		run: func(context.Context, *session, wire.Content) (wire.Content, error) {
			stop()
			delete(s.streams, id)
			return wire.Empty{}, nil
		},
		post: func(s *session) {
			s.sendChunk(id, wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal})
		},
	}, nil
}
