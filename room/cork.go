package room

import (
	"bufio"
	"io"
	"sync"
	"sync/atomic"
)

// corkSize is how much a cork holds back, in bytes.
const corkSize = 32 << 10

// A cork holds back what is written while a batch is put together. The
// WebSocket library flushes every frame, a packet is a frame, and the smallest
// request is two packets: without it a thousand requests cost two thousand
// system calls.
type cork struct {
	io.ReadWriteCloser

	mu   sync.Mutex
	buf  *bufio.Writer
	held bool

	last atomic.Bool // see hangUp
}

func newCork(rwc io.ReadWriteCloser) *cork {
	return &cork{ReadWriteCloser: rwc, buf: bufio.NewWriterSize(rwc, corkSize)}
}

// Write writes through unless the cork is held.
func (c *cork) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.buf.Write(p)
	if err == nil && !c.held {
		err = c.flush()
	}
	return n, err
}

func (c *cork) flush() error {
	err := c.buf.Flush()
	if c.last.Load() {
		_ = c.Close()
	}
	return err
}

// hangUp closes the connection as soon as one more thing is written. It does
// not wait for a write that blocks.
func (c *cork) hangUp() { c.last.Store(true) }

func (c *cork) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

func (c *cork) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	return c.flush()
}
