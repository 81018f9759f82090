package tmpfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDisk is why a folder is refused that is not in memory.
var ErrDisk = errors.New("it is not on a tmpfs or ramfs, so its files would outlive roomenv on a disk")

// inMemory looks at the magic number of the filesystem (statfs(2)).
func inMemory(f *os.File) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return err
	}
	switch s.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	}
	return fmt.Errorf("%w\nhint: mount a tmpfs there, or name a folder on one, as /dev/shm, with --dir", ErrDisk)
}
