package room

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/wire"
)

// A request is one call, in flight from its first packet to its response. Client.mu
// guards what changes.
type request struct {
	id         uint64
	typ        string // of the message
	payload    []byte
	repeatable bool
	opens      *stream // or nil
	inFlight   bool
	sent       int         // number of times
	answer     chan answer // one slot
}

type answer struct {
	payload []byte
	sent    int
	err     error
}

// invoke calls a tool of a toolkit and returns the content of the response (section
// 5.1), which is an [*Error] for error content, and how often it sent the call.
//
// It waits for a connection and the response until ctx ends. If the connection drops
// before the response, it sends the call again if that is repeatable; otherwise the
// call fails with [ErrDisconnected].
func (c *Client) invoke(ctx context.Context, toolkit, tool string, arguments wire.Content, repeatable bool) (_ wire.Content, sent int, err error) {
	op := toolkit + "." + tool
	payload, err := wire.PackInvoke(toolkit, tool, arguments)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", op, err)
	}
	return c.request(ctx, op, &request{typ: wire.TypeInvokeTool, payload: payload, repeatable: repeatable})
}

// request sends r and returns the content of the response.
func (c *Client) request(ctx context.Context, op string, r *request) (_ wire.Content, sent int, err error) {
	if len(r.payload) > wire.DefaultMaxMessage {
		return nil, 0, fmt.Errorf("%s: the request has %d bytes, want at most %d", op, len(r.payload), wire.DefaultMaxMessage)
	}
	a := c.ask(ctx, r)
	if a.err != nil {
		return nil, a.sent, fmt.Errorf("%s: %w", op, a.err)
	}
	content, err := wire.UnpackContent(a.payload)
	if err != nil {
		return nil, a.sent, fmt.Errorf("%w to %s: %w", ErrUnexpectedAnswer, op, err)
	}
	if e, failed := content.(wire.Error); failed {
		return nil, a.sent, &Error{Op: op, Code: int(e.Code), Text: text.Printable(e.Text, maxText)}
	}
	return content, a.sent, nil
}

// ask queues r and waits for the response.
func (c *Client) ask(ctx context.Context, r *request) answer {
	if ctx.Err() != nil {
		return answer{err: context.Cause(ctx)}
	}
	if err := c.enqueue(r); err != nil {
		return answer{err: err}
	}
	select {
	case a := <-r.answer:
		return a
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, r.id)
	if !r.inFlight {
		c.queue = slices.DeleteFunc(c.queue, func(q *request) bool { return q == r })
	}
	return answer{sent: r.sent, err: c.ended(ctx)}
}

// ended returns why ctx ended. Client.mu is held.
func (c *Client) ended(ctx context.Context) error {
	err := context.Cause(ctx)
	if c.lost != nil {
		err = fmt.Errorf("%w: disconnected: %w", err, c.lost)
	}
	return err
}

// enqueue gives r an id and wakes the writer.
func (c *Client) enqueue(r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.lastID++
	r.id, r.answer = c.lastID, make(chan answer, 1)
	c.pending[r.id] = r
	c.queue = append(c.queue, r)
	c.wakeWriter()
	return nil
}

func (c *Client) wakeWriter() {
	notify.Send(c.wake)
}

// dequeue returns the next request to write, or nil.
func (c *Client) dequeue() *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil
		return nil
	}
	r := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	r.inFlight = true
	r.sent++
	if r.opens != nil {
		c.streams[r.opens.id] = r.opens
	}
	return r
}

// write is the only writer of k: it sends messages whole and in order, and all that are
// queued at a time with as few system calls as possible.
func (c *Client) write(ctx context.Context, k *connection) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
		}
		// Let other goroutines that are about to call share the batch.
		runtime.Gosched()
		k.cork.Hold()
		for ctx.Err() == nil {
			r := c.dequeue()
			if r == nil {
				break
			}
			// A write ends with the connection; a context would cost a timer for each
			// packet.
			m := wire.Message{ID: r.id, Type: r.typ, Payload: r.payload}
			for p := range m.Packets() {
				if err := k.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
					return peerError{err}
				}
			}
		}
		if err := k.cork.Release(); err != nil {
			return peerError{err}
		}
	}
}

// read handles the messages of k until it drops. It waits for no other goroutine.
func (c *Client) read(k *connection) error {
	for {
		m, err := k.next(context.Background())
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return fmt.Errorf("%w by the room", ErrClosed)
		}
		if err != nil {
			return peerError{err}
		}
		switch m.Type {
		case wire.TypeResponse:
			c.respond(m)
		case wire.TypeResponseChunk:
			if err := c.takeChunk(m); err != nil {
				return err
			}
		default:
			c.event(m)
		}
	}
}

// respond passes a response to its request. A response without one is ignored: the
// context of the call may have ended.
func (c *Client) respond(m wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.pending[m.ID]; r != nil && r.inFlight {
		c.used = true
		delete(c.pending, m.ID)
		r.answer <- answer{payload: m.Payload, sent: r.sent}
	}
}

// requeue is for a connection that dropped: calls in flight are sent again or fail,
// and streams end.
func (c *Client) requeue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endStreams(ErrDisconnected)
	c.queue = nil
	for _, id := range slices.Sorted(maps.Keys(c.pending)) {
		r := c.pending[id]
		if r.inFlight && !r.repeatable {
			delete(c.pending, id)
			r.answer <- answer{sent: r.sent, err: ErrDisconnected}
			continue
		}
		r.inFlight = false
		c.queue = append(c.queue, r)
	}
	c.wakeWriter()
}

// end closes the client for good.
func (c *Client) end(err error) {
	c.transport.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.lose(err)
	c.endStreams(err)
	for id, r := range c.pending {
		delete(c.pending, id)
		r.answer <- answer{sent: r.sent, err: err}
	}
	c.queue = nil
	close(c.done)
	if c.ctx.Err() == nil { // not by Close
		c.log.Warn("connection closed", "error", err)
	}
}
