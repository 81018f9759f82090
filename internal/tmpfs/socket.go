package tmpfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
)

// Listen creates a socket next to the files, for the owner of the files alone. The
// listener removes it, or Close does.
func (d *Dir) Listen(name string) (*net.UnixListener, error) {
	l, err := (&net.ListenConfig{Control: private}).Listen(context.Background(), "unix", filepath.Join(d.path, name))
	if err == nil {
		err = d.give(name, l)
	}
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// ListenShared creates a socket at path for this user and, if it is not nil, for a group.
// The listener removes it, and so does the next call after a process was killed.
func ListenShared(path string, group *int) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := (&net.ListenConfig{Control: private}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if group != nil {
		if err := errors.Join(os.Lchown(path, -1, *group), os.Chmod(path, 0o660)); err != nil { //nolint:gosec // for the group that the user names
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, text.Reason(err)), l.Close())
		}
	}
	return l.(*net.UnixListener), nil
}

// ListenPacket is Listen for a datagram socket. Close removes it.
func (d *Dir) ListenPacket(name string) (*net.UnixConn, error) {
	c, err := (&net.ListenConfig{Control: private}).ListenPacket(context.Background(), "unixgram", filepath.Join(d.path, name))
	if err == nil {
		err = d.give(name, c)
	}
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// give makes the owner of the files that of a socket.
func (d *Dir) give(name string, socket io.Closer) error {
	if err := d.chown(d.root, name); err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", filepath.Join(d.path, name), text.Reason(err)), socket.Close())
	}
	return nil
}

// private sets the mode before bind(2), which gives it to the file of the socket.
func private(_, _ string, c syscall.RawConn) error {
	var chmod error
	err := c.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) })
	return errors.Join(err, chmod)
}

// Sockets returns the paths of the sockets with that name in the directories that Open
// creates without a path: those of this user, and for root those of all users. Those of
// killed processes refuse connections.
func Sockets(name string) (paths []string) {
	dirs := bases()
	if os.Geteuid() == 0 {
		for _, pattern := range []string{"/run/*/roomenv", "/run/user/*/roomenv", "/dev/shm/roomenv-*"} {
			others, _ := filepath.Glob(pattern)
			dirs = append(dirs, others...)
		}
		slices.Sort(dirs)
		dirs = slices.Compact(dirs)
	}
	for _, base := range dirs {
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
