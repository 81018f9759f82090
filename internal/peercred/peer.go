// Package peercred checks the user of the peer of a Unix socket.
package peercred

import "net"

// A Listener accepts only connections of processes of the same user and of root.
type Listener struct{ *net.UnixListener }

// Accept closes connections of others.
func (l Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if _, err := Check(conn); err == nil {
			return conn, nil
		}
		conn.Close()
	}
}
