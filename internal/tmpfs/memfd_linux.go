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

// Memfds makes the files that a child gets open: in memory, without a name on
// any filesystem, and sealed, so that nobody changes what the child reads. The
// one at index i is for the descriptor i+3; it is nil if there is none. The
// caller closes them. They belong to owner; nil is the user itself.
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
			return open, fmt.Errorf("cannot give the command %s: descriptor %d is inherited by it\nhint: leave memfd out, or do not hand roomenv that descriptor", f.Path, f.Descriptor)
		}
		m, err := memfd(f, owner)
		if err != nil {
			return open, fmt.Errorf("cannot make %s in memory: %w", f.Path, text.Reason(err))
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
	if owner != nil {
		err = m.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = m.Chmod(f.Mode.Perm())
	}
	if err == nil {
		// At an offset, so that who reads the descriptor itself starts at 0.
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
