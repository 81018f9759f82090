//go:build !linux

package local

import "net"

// checkPeer leaves it to the mode of the socket who may connect.
func checkPeer(*net.UnixConn) (pid int, err error) { return 0, nil }
