package peercred

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Check refuses the other end of a Unix socket unless it is of the same user or
// of root, and returns its process id: that of the process that listens, for the
// one that connected, and 0 if it is not in our PID namespace (unix(7),
// SO_PEERCRED).
func Check(conn *net.UnixConn) (pid int, err error) {
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
		return 0, fmt.Errorf("cannot tell whose process is at the other end: %w", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return 0, fmt.Errorf("the other end is a process of user %d, not of ours", peer.Uid)
	}
	return int(peer.Pid), nil
}
