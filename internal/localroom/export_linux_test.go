package localroom

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Fault is the step of a commit that fails.
type Fault int

// Faults of a [Disk]. From FailWrite on it is one of the writes of pages that fails, after
// it was done in part, and the last one is that of the meta page.
const (
	FailNothing Fault = iota
	FailTruncate
	FailDataSync
	FailMetaSync
	FailSettle // the sync of what an earlier failure left in doubt
	FailWrite
)

// A Write is what a store wrote to a place of its file, or with nil Data the size that
// it gave it.
type Write struct {
	At   int64
	Data []byte
}

// A Disk is under the file of a store. It keeps what was written until it is synced. A
// sync that fails leaves what was written to chance, and so does every later one: the
// kernel takes the pages for clean.
type Disk struct {
	Durable []byte  // the file after power was lost, but for
	Chance  []Write // writes of which any may be there, in this order
	OnSync  func()  // called before what was written since the last one is durable

	fail    Fault
	writes  int // of the commit
	pending []Write
	size    int64

	file     *os.File // the same as that of the store
	fd       int      // of bbolt
	pageSize int64
}

// NewDisk puts a disk under s, which has no commit running.
func NewDisk(s *Store) (*Disk, error) {
	s.open.Lock()
	defer s.open.Unlock()
	d := &Disk{fd: int(s.file.Fd()), pageSize: int64(os.Getpagesize())}
	own, err := unix.Dup(d.fd) // which has the lock
	if err != nil {
		return nil, err
	}
	d.file = os.NewFile(uintptr(own), s.path)
	s.file = d.file
	if d.Durable, err = os.ReadFile(s.path); err != nil {
		return nil, err
	}
	d.size = int64(len(d.Durable))
	// bbolt has this as a hook for its own tests.
	writeAt := reflect.ValueOf(s.db).Elem().FieldByName("ops").FieldByName("writeAt")
	hook := (*func([]byte, int64) (int, error))(unsafe.Pointer(writeAt.UnsafeAddr()))
	*hook = d.writeAt
	fsync = d.settle
	return d, nil
}

// Remove has stores sync their files again.
func (d *Disk) Remove() { fsync = (*os.File).Sync }

// Fail makes the next commit fail.
func (d *Disk) Fail(f Fault) error {
	d.fail, d.writes = f, 0
	if f == FailTruncate {
		return d.use(d.file.Name(), os.O_RDONLY)
	}
	return nil
}

// Heal ends that, after the commit with err.
func (d *Disk) Heal(err error) error {
	if err == nil {
		d.synced()
	} else {
		d.Chance = append(d.Chance, d.pending...)
	}
	d.pending, d.fail, d.writes = nil, FailNothing, 0
	return unix.Dup3(int(d.file.Fd()), d.fd, unix.O_CLOEXEC)
}

// use has bbolt sync and truncate another file.
func (d *Disk) use(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Dup3(int(f.Fd()), d.fd, unix.O_CLOEXEC)
}

var errDisk = errors.New("broken disk")

func (d *Disk) writeAt(b []byte, at int64) (int, error) {
	if info, err := d.file.Stat(); err != nil {
		return 0, err
	} else if info.Size() != d.size {
		d.size = info.Size()
		d.pending = append(d.pending, Write{At: d.size})
		d.synced()
	}
	meta := at < 2*d.pageSize
	if meta {
		d.synced()
	}
	d.writes++
	before := len(d.pending)
	if d.fail == FailWrite+Fault(d.writes-1) {
		b = b[:len(b)/2]
	}
	for page := range slices.Chunk(b, int(d.pageSize)) {
		d.pending = append(d.pending, Write{at + d.pageSize*int64(len(d.pending)-before), bytes.Clone(page)})
	}
	if _, err := d.file.WriteAt(b, at); err != nil {
		return 0, err
	}
	switch {
	case d.fail == FailWrite+Fault(d.writes-1):
		return 0, errDisk
	case d.fail == FailDataSync && !meta, d.fail == FailMetaSync && meta:
		return len(b), d.use(os.DevNull, os.O_RDWR)
	}
	return len(b), nil
}

// settle is the sync of a store that wrote a meta page again.
func (d *Disk) settle(f *os.File) error {
	if f != d.file {
		return f.Sync()
	}
	for at := range int64(2) {
		page := make([]byte, d.pageSize)
		if _, err := f.ReadAt(page, at*d.pageSize); err != nil {
			return err
		}
		if latest, _, err := newest(f); err != nil || latest.at == at*d.pageSize {
			d.pending = append(d.pending, Write{at * d.pageSize, page})
		}
	}
	if d.fail == FailSettle {
		return errDisk
	}
	d.synced()
	return nil
}

// synced is a sync that worked.
func (d *Disk) synced() {
	if d.OnSync != nil {
		d.OnSync()
	}
	for _, w := range d.pending {
		d.Durable = w.Apply(d.Durable)
		d.Chance = without(d.Chance, w)
	}
	d.pending = nil
}

// without drops the writes that w replaces.
func without(chance []Write, w Write) (rest []Write) {
	for _, c := range chance {
		if c.Data == nil || w.Data == nil || c.At < w.At || c.At+int64(len(c.Data)) > w.At+int64(len(w.Data)) {
			rest = append(rest, c)
		}
	}
	return rest
}

// Apply returns image after w.
func (w Write) Apply(image []byte) []byte {
	size := max(int64(len(image)), w.At+int64(len(w.Data)))
	if w.Data == nil {
		size = w.At
	}
	image = append(image, make([]byte, max(0, size-int64(len(image))))...)[:size]
	copy(image[w.At:], w.Data)
	return image
}

// Unsynced returns all writes of which any may be on the disk.
func (d *Disk) Unsynced() []Write { return append(append([]Write(nil), d.Chance...), d.pending...) }
