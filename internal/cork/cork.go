// Package cork gathers small writes. The WebSocket library flushes every frame, a
// packet of a message is a frame, and the smallest message is two packets: without a
// cork a thousand requests cost two thousand system calls.
package cork

import (
	"io"
	"sync"
	"sync/atomic"
)

// MaxHeld is how much a [Cork] holds back, in bytes.
const MaxHeld = 32 << 10

// buffers are shared by all corks: one that holds nothing back costs no memory.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, MaxHeld)
	return &b
}}

// A Cork is a connection that writes through unless it is held. Reads are those of
// the connection under it.
type Cork struct {
	io.ReadWriteCloser

	mu     sync.Mutex
	buffer *[]byte // nil: nothing is held back
	held   bool
	err    error // of a write, after which there is no other

	last atomic.Bool // see HangUp
}

// New returns a cork that is not held.
func New(under io.ReadWriteCloser) *Cork { return &Cork{ReadWriteCloser: under} }

// Write holds back p, or writes it.
func (c *Cork) Write(p []byte) (n int, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		_ = c.send(p)
		return len(p), c.sent()
	}
	for n < len(p) {
		if c.buffer == nil {
			c.buffer = buffers.Get().(*[]byte)
		}
		part := p[n:min(len(p), n+MaxHeld-len(*c.buffer))]
		*c.buffer = append(*c.buffer, part...)
		if n += len(part); n < len(p) && c.flush() != nil {
			break
		}
	}
	return n, c.err
}

// send writes p to the connection under c.
func (c *Cork) send(p []byte) error {
	if c.err == nil {
		_, c.err = c.ReadWriteCloser.Write(p)
	}
	return c.err
}

// flush sends what is held back, and gives the buffer back.
func (c *Cork) flush() error {
	if c.buffer == nil {
		return c.err
	}
	_ = c.send(*c.buffer)
	clear(*c.buffer) // may be secret, and is another connection's next
	*c.buffer = (*c.buffer)[:0]
	buffers.Put(c.buffer)
	c.buffer = nil
	return c.err
}

// sent is called when nothing is held back.
func (c *Cork) sent() error {
	if c.last.Load() {
		_ = c.Close()
	}
	return c.err
}

// Hold holds back what is written from now on.
func (c *Cork) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// Release writes what was held back, and writes through from now on.
func (c *Cork) Release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	_ = c.flush()
	return c.sent()
}

// HangUp closes the connection as soon as one more thing is written. It does not
// wait for a write that blocks.
func (c *Cork) HangUp() { c.last.Store(true) }
