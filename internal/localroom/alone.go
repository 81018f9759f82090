package localroom

import (
	"context"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// alone is the listener of a leader that serves its own process only: it cannot create a
// socket beside a store that is read-only.
type alone struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newAlone() *alone {
	a := &alone{conns: make(chan net.Conn), closed: make(chan struct{})}
	a.close = sync.OnceFunc(func() { close(a.closed) })
	return a
}

func (a *alone) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *alone) Close() error {
	a.close()
	return nil
}

func (a *alone) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// dial returns one end of a pair of sockets, the other of which is accepted.
func (a *alone) dial(ctx context.Context) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "room")
		c, e := net.FileConn(f) // a copy
		f.Close()
		if ends[i] = c; e != nil {
			err = e
		}
	}
	if err == nil {
		select {
		case a.conns <- ends[0]:
			return ends[1], nil
		case <-a.closed:
			err = net.ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	for _, c := range ends {
		if c != nil {
			c.Close()
		}
	}
	return nil, err
}
