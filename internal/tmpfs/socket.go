package tmpfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
)

// Listen creates a socket next to the files, for the owner of the files alone. The
// listener removes it, or Close does.
func (d *Dir) Listen(name string) (*net.UnixListener, error) {
	path := filepath.Join(d.path, name)
	l, err := (&net.ListenConfig{Control: private}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := d.chown(d.root, name); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, text.Reason(err)), l.Close())
	}
	return l.(*net.UnixListener), nil
}

// private sets the mode before bind(2), which gives it to the file of the socket.
func private(_, _ string, c syscall.RawConn) error {
	var chmod error
	err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
	return errors.Join(err, chmod)
}

// Sockets returns the paths of the sockets with that name in the directories that Open
// creates without a path. Those of killed processes refuse connections.
func Sockets(name string) (paths []string) {
	for _, base := range bases() {
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			path := filepath.Join(base, e.Name(), name)
			if _, err := os.Lstat(path); err == nil && strings.HasPrefix(e.Name(), run) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}
