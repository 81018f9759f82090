package localroom

import (
	"net"
	"sync"
	"time"
)

const (
	// corkSize is how much a corked connection holds back, in bytes.
	corkSize = 32 << 10

	// corkFarewell bounds what a close waits for a peer that does not read.
	corkFarewell = time.Second
)

// A corkedConn holds back what is written while its reader is busy, and sends
// it when the reader comes back for more. Requests that came together are so
// answered together: the WebSocket library flushes every packet, and a thousand
// answers would cost two thousand system calls.
//
// While a Read waits nothing is held back.
type corkedConn struct {
	net.Conn

	mu      sync.Mutex
	held    []byte
	reading bool
}

func (c *corkedConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.reading = true
	err := c.flush()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

func (c *corkedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, p...)
	if !c.reading && len(c.held) < corkSize {
		return len(p), nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *corkedConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	clear(c.held) // it held values
	c.held = c.held[:0]
	return err
}

// Close sends what is held back first, unless a write is stuck.
func (c *corkedConn) Close() error {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(corkFarewell))
		_ = c.flush()
	}
	return c.Conn.Close()
}

// corked corks the connections of a listener.
type corked struct{ net.Listener }

func (l corked) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corkedConn{Conn: conn}, nil
}
