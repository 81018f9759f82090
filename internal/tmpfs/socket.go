package tmpfs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomenv/roomenv/internal/text"
)

// Listen makes a socket beside the files, for the owner of the files alone. It
// ends with the listener, and at the latest with the folder.
func (d *Dir) Listen(name string) (*net.UnixListener, error) {
	path := filepath.Join(d.path, name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.root.Chmod(name, 0o600), d.chown(d.root, name)); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s: %w", path, text.Reason(err)), l.Close())
	}
	return l, nil
}

// Sockets returns the paths of the sockets of that name in the folders that Open
// makes when it is given no path. Nobody listens on those of processes that were
// killed.
func Sockets(name string) (paths []string) {
	for _, base := range bases() {
		folders, _ := os.ReadDir(base)
		for _, f := range folders {
			path := filepath.Join(base, f.Name(), name)
			if _, err := os.Lstat(path); err == nil && strings.HasPrefix(f.Name(), run) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}
