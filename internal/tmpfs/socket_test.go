//go:build linux

package tmpfs_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/roomenv/roomenv/internal/tmpfs"
)

func TestListen(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", memory(t))
	d := open(t, "")
	l, err := d.Listen("a.sock")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(d.Current()), "a.sock")
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, error %v", info, err)
	}
	if got := tmpfs.Sockets("a.sock"); !slices.Contains(got, path) {
		t.Errorf("Sockets returns %q without %s", got, path)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := tmpfs.Sockets("a.sock"); slices.Contains(got, path) {
		t.Errorf("Sockets returns %q after the listener was closed", got)
	}
}

// The owner of the files gets to the socket too.
func TestListenOwner(t *testing.T) {
	needRoot(t)
	t.Setenv("XDG_RUNTIME_DIR", memory(t))
	d, err := tmpfs.Open("", &syscall.Credential{Uid: 65534, Gid: 65534})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := d.Listen("a.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 65534 || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v of %d", info.Mode(), uid)
	}
}
