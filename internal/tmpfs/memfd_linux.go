package tmpfs

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/render"
)

const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Memfds creates the files that the command inherits open: in memory, without a name in
// any filesystem, and sealed, so that no process changes what the command reads. The
// file at index i is for descriptor i+3; it is nil for other descriptors. The caller
// closes the files. They belong to owner; nil is the current user.
func Memfds(files []render.File, owner *syscall.Credential) (open []*os.File, err error) {
	defer func() {
		if err != nil {
			CloseAll(open)
			open = nil
		}
	}()
	for _, f := range files {
		if f.Descriptor == 0 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(f.Descriptor), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			return open, fmt.Errorf("pass %s as descriptor %d: the command inherits that descriptor\nhint: remove memfd, or start roomenv without that descriptor", f.Path, f.Descriptor)
		}
		m, err := memfd(f, owner)
		if err != nil {
			return open, fmt.Errorf("create %s in memory: %w", f.Path, text.Reason(err))
		}
		for len(open) < f.Descriptor-3 {
			open = append(open, nil)
		}
		open = append(open, m)
	}
	return open, nil
}

func memfd(f render.File, owner *syscall.Credential) (*os.File, error) {
	fd, err := unix.MemfdCreate("roomenv", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	m := os.NewFile(uintptr(fd), "memfd")
	if err = m.Chmod(f.Mode.Perm()); err == nil && owner != nil {
		err = m.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		// At an offset, so that reads of the descriptor itself start at 0.
		_, err = m.WriteAt(f.Content.Reveal(), 0)
	}
	if err == nil {
		_, err = unix.FcntlInt(m.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}
