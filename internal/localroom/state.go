package localroom

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// stateSuffix is that of the file which remembers the state of a store that was closed,
// so that the next process need not read all of it. The file is of no other use: any
// other state, or none, has the store read.
const stateSuffix = ".state"

// state returns what is different if the file was written to since, by whatever program:
// the kernel sets the time of the last change of an inode.
func (s *Store) state() ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &stat); err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint64(nil, stat.Ino)
	for _, n := range []int64{stat.Size, stat.Mtim.Nano(), stat.Ctim.Nano()} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	roots, err := digestRoots(s.file)
	return append(b, roots...), err
}

// digestRoots returns a digest of the pages that nothing else in the file vouches for: the
// one with the roots of the buckets, and the list of free pages, to which bbolt writes.
func digestRoots(file *os.File) ([]byte, error) {
	snap, _, err := newest(file)
	if err != nil {
		return nil, err
	}
	root, err := snap.page(snap.root)
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	digest.Write(binary.BigEndian.AppendUint64(nil, snap.transaction))
	digest.Write(root.head)
	err = snap.freePages(func(id uint64) error { return binary.Write(digest, order, id) })
	return digest.Sum(nil), err
}

// remember keeps the state of the store, which is about to be closed and is in order.
// Without it the next process takes longer, so no error is reported.
func (s *Store) remember() {
	b, err := s.state()
	if err != nil {
		return
	}
	path := s.path + stateSuffix
	_ = os.Remove(path) // it may be a link, or no file
	if f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_, _ = f.Write(s.seal.seal(kindState, nil, 0, b))
		_ = f.Close()
	}
}

// unchanged reports whether the file has the state that a process remembered.
func (s *Store) unchanged() bool {
	f, err := openReadOnly(s.path + stateSuffix)
	if err != nil {
		return false
	}
	defer f.Close()
	if checkRegular(f) != nil {
		return false
	}
	box, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return false
	}
	then, err := s.seal.open(kindState, nil, 0, box)
	if err != nil {
		return false
	}
	now, err := s.state()
	return err == nil && bytes.Equal(then, now)
}
