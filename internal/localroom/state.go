package localroom

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// stateSuffix is that of the file which remembers the state of a store that was closed,
// so that the next process need not read all of it. The file is of no other use: any
// other state, or none, has the store read.
const stateSuffix = ".state"

// state returns what is different if the file was written to since, by whatever program:
// the kernel sets the time of the last change of an inode. The list of free pages, to
// which bbolt writes, is read when it opens the file, and so is part of it.
func (s *Store) state() ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &stat); err != nil {
		return nil, err
	}
	snap, _, err := newest(s.file)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint64(nil, stat.Ino)
	for _, n := range []int64{stat.Size, stat.Mtim.Nano(), stat.Ctim.Nano()} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint64(b, snap.transaction)
	free := sha256.New()
	err = snap.freePages(func(id uint64) error { return binary.Write(free, order, id) })
	return free.Sum(b), err
}

// remember keeps the state of the store, which is about to be closed and is in order.
// Without it the next process takes longer, so no error is reported.
func (s *Store) remember() {
	if b, err := s.state(); err == nil {
		_ = os.WriteFile(s.path+stateSuffix, s.seal.seal(kindState, nil, 0, b), 0o600)
	}
}

// unchanged reports whether the file has the state that a process remembered.
func (s *Store) unchanged() bool {
	box, err := os.ReadFile(s.path + stateSuffix)
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
