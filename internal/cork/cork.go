// Package cork gathers small writes. The WebSocket library flushes every frame, a
// packet of a message is a frame, and the smallest message is two packets: without a
// cork a thousand requests cost two thousand system calls.
package cork

import (
	"bufio"
	"io"
	"sync"
	"sync/atomic"
)

// MaxHeld is how much a [Cork] holds back, in bytes.
const MaxHeld = 32 << 10

// A Cork is a connection that writes through unless it is held. Reads are those of
// the connection under it.
type Cork struct {
	io.ReadWriteCloser

	mu     sync.Mutex
	buffer *bufio.Writer
	held   bool

	last atomic.Bool // see HangUp
}

// New returns a cork that is not held.
func New(under io.ReadWriteCloser) *Cork {
	return &Cork{ReadWriteCloser: under, buffer: bufio.NewWriterSize(under, MaxHeld)}
}

// Write holds back p, or writes it.
func (c *Cork) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.buffer.Write(p)
	if err == nil && !c.held {
		err = c.flush()
	}
	return n, err
}

func (c *Cork) flush() error {
	err := c.buffer.Flush()
	if c.last.Load() {
		_ = c.Close()
	}
	return err
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
	return c.flush()
}

// HangUp closes the connection as soon as one more thing is written. It does not
// wait for a write that blocks.
func (c *Cork) HangUp() { c.last.Store(true) }
