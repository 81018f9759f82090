package room

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/wire"
)

// A stream is a call whose response comes in chunks, on one connection (section 5.1).
// Client.mu guards what changes.
type stream struct {
	op     string
	id     string
	chunks []wire.Content // not taken yet
	bytes  int            // of chunks
	err    error          // why no more chunks follow
	wake   chan struct{}  // one slot: chunks or err is set
}

// errBehind ends a stream with too many chunks that are not taken.
var errBehind = errors.New("stream reader is too slow")

// openStream opens a stream of tool. The caller closes it.
func (c *Client) openStream(ctx context.Context, toolkit, tool string) (*stream, error) {
	s := &stream{op: toolkit + "." + tool, id: rand.Text(), wake: notify.Slot()}
	payload, err := wire.PackOpen(toolkit, tool, s.id)
	if err != nil {
		return nil, err
	}
	content, _, err := c.request(ctx, s.op, &request{typ: wire.TypeInvokeTool, payload: payload, opens: s})
	if control, ok := content.(wire.Control); err == nil && (!ok || control.Method != wire.Open) {
		err = fmt.Errorf("%w to %s: %s", ErrUnexpectedAnswer, s.op, contentType(content))
	}
	if _, refused := errors.AsType[*Error](err); refused {
		c.forgetStream(s)
	} else if err != nil {
		c.closeStream(s) // the room may have it open, or open it yet
	}
	return s, err
}

// closeStream ends s, and sends that to the room if s is open on this connection.
func (c *Client) closeStream(s *stream) {
	if !c.forgetStream(s) {
		return
	}
	payload, err := wire.PackChunk(s.id, wire.Control{Method: wire.Close, StatusCode: wire.CloseNormal})
	if err == nil {
		// The response does not matter, nor whether the client is closed.
		_ = c.enqueue(&request{typ: wire.TypeRequestChunk, payload: payload})
	}
}

func (c *Client) forgetStream(s *stream) (known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known = c.streams[s.id]
	delete(c.streams, s.id)
	return known
}

// take returns the chunks since the last call. It waits for at least one.
func (c *Client) take(ctx context.Context, s *stream) ([]wire.Content, error) {
	for {
		c.mu.Lock()
		chunks, err := s.chunks, s.err
		s.chunks, s.bytes = nil, 0
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case len(chunks) > 0:
			return chunks, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// takeChunk adds a chunk to its stream. An invalid chunk is an error of the connection,
// since its stream would miss it.
func (c *Client) takeChunk(m wire.Message) error {
	id, content, err := wire.UnpackChunk(m.Payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil || s.err != nil {
		return nil
	}
	switch control, _ := content.(wire.Control); {
	case control.Method == wire.Close:
		delete(c.streams, id)
		s.err = fmt.Errorf("%s: the room closed the stream: status %d %.80q", s.op, control.StatusCode, control.Message)
	case len(s.chunks) == maxEvents || s.bytes+len(m.Payload) > maxEventBytes:
		s.chunks, s.bytes, s.err = nil, 0, errBehind
	default:
		s.chunks, s.bytes = append(s.chunks, content), s.bytes+len(m.Payload)
	}
	s.wakeReader()
	return nil
}

// endStreams ends the streams of a connection that dropped. Client.mu is held.
func (c *Client) endStreams(err error) {
	for id, s := range c.streams {
		delete(c.streams, id)
		if s.err == nil {
			s.err = err
		}
		s.wakeReader()
	}
}

func (s *stream) wakeReader() {
	notify.Send(s.wake)
}
