package tmpfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDisk reports that a directory is not in memory.
var ErrDisk = errors.New("directory is not on a tmpfs or ramfs: files would remain on a disk")

// inMemory checks the magic number of the filesystem (statfs(2)).
func inMemory(f *os.File) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return err
	}
	switch s.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	}
	return fmt.Errorf("%w\nhint: mount a tmpfs there, or use a directory on one, such as /dev/shm", ErrDisk)
}
