package room

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/coder/websocket"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/wire"
)

// A request is in flight from its first packet to its answer. Client.mu guards
// what changes of it.
type request struct {
	id         uint64
	typ        string // of the message
	payload    []byte
	repeatable bool
	opens      *stream // or nil
	inFlight   bool
	sent       int         // how often
	answer     chan answer // one slot
}

type answer struct {
	payload []byte
	sent    int
	err     error
}

// invoke calls a tool of a toolkit and returns the content of the answer (section
// 5.1), which is an [*Error] for error content, and how often the call was sent.
//
// It waits, for a connection and for the answer, until ctx ends. When the connection
// drops before the answer came, the call is sent again if it is repeatable, and else
// fails with [ErrDisconnected].
func (c *Client) invoke(ctx context.Context, toolkit, tool string, arguments wire.Content, repeatable bool) (_ wire.Content, sent int, err error) {
	op := toolkit + "." + tool
	payload, err := wire.PackInvoke(toolkit, tool, arguments)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", op, err)
	}
	return c.request(ctx, op, &request{typ: wire.TypeInvokeTool, payload: payload, repeatable: repeatable})
}

// request asks r and returns the content of its answer.
func (c *Client) request(ctx context.Context, op string, r *request) (_ wire.Content, sent int, err error) {
	if len(r.payload) > wire.DefaultMaxMessage {
		return nil, 0, fmt.Errorf("%s: a request of %d bytes is larger than %d", op, len(r.payload), wire.DefaultMaxMessage)
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
		return nil, a.sent, &Error{Op: op, Code: e.Code, Text: text.Printable(e.Text, maxText)}
	}
	return content, a.sent, nil
}

// ask queues r and waits for its answer.
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

// ended says why ctx ended. Client.mu is held.
func (c *Client) ended(ctx context.Context) error {
	err := context.Cause(ctx)
	if c.lost != nil {
		err = fmt.Errorf("%w: no connection to the room: %w", err, c.lost)
	}
	return err
}

// enqueue gives r its id and the writer something to do.
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
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// dequeue takes the next request to write; nil is none.
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

// write is the one writer of k: messages leave it whole and in order, and all
// that are queued at a time leave in as few system calls as their bytes need.
func (c *Client) write(ctx context.Context, k *connection) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
		}
		// Whoever else is about to ask may do so first and share the batch.
		runtime.Gosched()
		k.cork.Hold()
		for ctx.Err() == nil {
			r := c.dequeue()
			if r == nil {
				break
			}
			// A write ends with the connection; a context of its own would
			// cost a timer for each packet.
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

// read takes the messages of k until it drops. Nothing it does waits for
// anyone else.
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

// respond hands a response to its request. One that nobody waits for is
// ignored: its context may have ended.
func (c *Client) respond(m wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.pending[m.ID]; r != nil && r.inFlight {
		delete(c.pending, m.ID)
		r.answer <- answer{payload: m.Payload, sent: r.sent}
	}
}

// requeue deals with the requests of a connection that is gone: those that
// were in flight are sent again or fail. Its streams end.
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

// end ends the client for good.
func (c *Client) end(err error) {
	c.transport.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.endStreams(err)
	for id, r := range c.pending {
		delete(c.pending, id)
		r.answer <- answer{sent: r.sent, err: err}
	}
	c.queue = nil
	close(c.done)
	level := c.log.Warn
	if errors.Is(err, ErrClosed) {
		level = c.log.Info
	}
	level("the connection to the room has ended", "error", err)
}
