package localroom

import (
	"net"
	"time"

	"github.com/roomenv/roomenv/internal/cork"
)

// closeGrace bounds how long a close waits for a peer that does not read.
const closeGrace = time.Second

// A corkedConn holds back what is written while its reader is busy, and sends it
// when the reader returns for more: requests that came together are answered
// together. While a Read waits nothing is held back.
type corkedConn struct {
	net.Conn
	cork *cork.Cork
}

func newCorkedConn(c net.Conn) corkedConn { return corkedConn{c, cork.New(c)} }

func (c corkedConn) Read(p []byte) (int, error) {
	if err := c.cork.Release(); err != nil {
		return 0, err
	}
	defer c.cork.Hold()
	return c.Conn.Read(p)
}

func (c corkedConn) Write(p []byte) (int, error) { return c.cork.Write(p) }

// Close sends what is held back first.
func (c corkedConn) Close() error {
	_ = c.SetWriteDeadline(time.Now().Add(closeGrace))
	_ = c.cork.Release()
	return c.Conn.Close()
}

// corked corks the connections of a listener.
type corked struct{ net.Listener }

func (l corked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newCorkedConn(c), nil
}
