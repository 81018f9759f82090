package peercred

import (
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/procstat"
)

// Check fails unless the peer of a Unix socket is a process of the same user, of root or
// of one of the others. It returns the PID of the peer, or 0 if that is not in this PID
// namespace. The peer of a client is the process that listens (unix(7), SO_PEERCRED).
func Check(conn *net.UnixConn, others ...uint32) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil {
		return 0, controlErr
	}
	if err != nil {
		return 0, fmt.Errorf("get credentials of peer: %w", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() && !slices.Contains(others, peer.Uid) {
		return 0, fmt.Errorf("peer is a process of user %d, want %d", peer.Uid, os.Geteuid())
	}
	return int(peer.Pid), nil
}

// Stopped reports whether the process pid is stopped by a signal or a debugger.
func Stopped(pid int) bool {
	stat, ok := procstat.Read(pid)
	return ok && (stat.State == 'T' || stat.State == 't')
}
