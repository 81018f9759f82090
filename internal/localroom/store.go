package localroom

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/secret"
)

// Errors of a [Store].
var (
	// ErrLocked means that another process has the store open.
	ErrLocked = errors.New("another process has the store open")
	// ErrDamaged means that the file is not what roomenv wrote.
	ErrDamaged = errors.New("file is damaged or not a store")
	// ErrAltered means that the store lacks records, or has others, although all that
	// are there are intact.
	ErrAltered = errors.New("the records are not the ones that were stored last")
	// ErrWrongKey means that the store was created with a different key.
	ErrWrongKey = errors.New("wrong room key")
	// ErrReadOnly means that this user cannot write to the store.
	ErrReadOnly = errors.New("store is read-only")
	// ErrNotFound means that the secret does not exist.
	ErrNotFound = errors.New("secret not found")
	// ErrInvalid means that the arguments do not name a secret.
	ErrInvalid = errors.New("invalid request")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// A Store has the secrets of rooms in one bbolt file. Values and their descriptions
// are encrypted with the room key; the keys of the database are keyed hashes, so that
// the file does not reveal names.
//
// A change is on disk when the call that makes it returns. Methods are safe for
// concurrent use; concurrent changes share one commit. bbolt writes the file, and
// [snapshot] reads it.
type Store struct {
	path string
	seal *sealer

	open     sync.RWMutex // held for writing by Close
	file     *os.File
	db       *bolt.DB // nil if readOnly or closed
	readOnly bool
	closed   bool
	broken   atomic.Bool

	torn  bool  // a meta page was damaged when the store was opened
	doubt error // wraps ErrAltered: what is wrong since before the store was opened
	sure  bool  // every page and record was read when it was opened, and is in order

	queued sync.Mutex
	queue  []*change

	committed sync.Mutex       // held while a batch is committed
	settled   bool             // the latest commit is known to be on disk
	usage     map[string]int64 // see batch.used; guarded by committed

	watches watches
}

// OpenStore opens the store at path for this process alone, and creates it if it does
// not exist. If the file has changed since a process closed it, OpenStore reads every
// page. It changes nothing if it fails: with [ErrDamaged], [ErrWrongKey], [ErrLocked] or
// an error of the system.
//
// A file that cannot be written is opened for reading, without a lock.
func OpenStore(path string, key secret.Value) (*Store, error) {
	seal, err := newSealer(key)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createFile(path, seal.build(0, nil)); err != nil {
			return nil, fmt.Errorf("create store %s: %w", path, err)
		}
	}
	s := &Store{path: path, seal: seal}
	if err := s.load(); err != nil {
		s.discard()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) load() (err error) {
	if s.file, err = openLocked(s.path); errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		s.readOnly = true
		s.file, err = openReadOnly(s.path)
	}
	if err == nil {
		err = checkRegular(s.file)
	}
	if err != nil {
		return err
	}
	snap, torn, err := newest(s.file)
	if err != nil {
		return err
	}
	s.torn = torn
	c, err := s.seal.read(snap)
	if err != nil {
		return err
	}
	if err := c.checkKey(); err != nil {
		return err
	}
	t, old, err := c.totals()
	if err != nil {
		return err
	}
	var found totals
	if s.settled = !old && s.unchanged(); !s.settled {
		if found, err = c.count(); err != nil {
			return err
		}
		if old {
			t.sum = found.sum
		}
		s.doubt = t.differs(found)
		s.sure = s.doubt == nil
	}
	if s.readOnly {
		return nil
	}
	return s.guard(func() error {
		s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{
			NoStatistics: true,
			// bbolt locks it again, which is the same lock: it belongs to the open file.
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return s.file, nil },
		})
		if err != nil || !old {
			return err
		}
		// What format 1 says of its records is not always right, and is counted again.
		found.sequence = t.sequence
		return s.db.Update(func(tx *bolt.Tx) error {
			return errors.Join(tx.Bucket(bucketStore).Put(keyCheck, s.seal.checkRecord()), s.seal.writeTotals(tx, found))
		})
	})
}

// openReadOnly opens the file at path, and does not wait if that is a FIFO.
func openReadOnly(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// openLocked opens the file at path and locks it, whatever it has in it. The file that
// has this name then may be a different one than before: see [replaceFile].
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		current, err := lock(f)
		if err == nil && current {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lock reports whether f, which it locks, still has its name.
func lock(f *os.File) (current bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return false, ErrLocked
	} else if err != nil {
		return false, fmt.Errorf("lock file: %w", err)
	}
	locked, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	return os.SameFile(locked, named), err
}

func checkRegular(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: not a regular file", ErrDamaged)
	case info.Size() == 0:
		return fmt.Errorf("%w: the file is empty", ErrDamaged)
	}
	return nil
}

// guard runs f, in which bbolt reads or writes the database. A panic of bbolt and a
// fault in the mapping of a file that was truncated become [ErrDamaged], which every
// later call returns too.
func (s *Store) guard(f func() error) (err error) {
	if s.broken.Load() {
		return ErrDamaged
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

// view runs f with what the latest commit has. It may run f again, with a later one.
func (s *Store) view(f func(*content) error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	for {
		var err error
		switch {
		case s.closed:
			return ErrClosed
		case s.readOnly:
			err = s.viewUnlocked(f)
		default:
			err = s.guard(func() error {
				// While it is open bbolt does not write to the pages of this commit.
				return s.db.View(func(tx *bolt.Tx) error {
					return s.viewCommit(tx, f)
				})
			})
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// errMoved means that there was another commit meanwhile.
var errMoved = errors.New("store has changed")

func (s *Store) viewCommit(tx *bolt.Tx, f func(*content) error) error {
	snap, _, err := newest(s.file)
	if err != nil {
		return err
	}
	if snap.transaction != uint64(tx.ID()) {
		return errMoved
	}
	c, err := s.read(snap)
	if err != nil {
		return err
	}
	return f(c)
}

func (s *Store) read(snap *snapshot) (*content, error) {
	c, err := s.seal.read(snap)
	c.unsure = !s.sure
	return c, err
}

// viewUnlocked is for a file that another process may write to, on a file system that
// this one cannot write to. Pages of a commit are reused by the second one after it.
func (s *Store) viewUnlocked(f func(*content) error) error {
	snap, _, err := newest(s.file)
	if err != nil {
		return err
	}
	c, err := s.read(snap)
	if err == nil {
		err = f(c)
	}
	if now, _, e := newest(s.file); e == nil && now.transaction != snap.transaction {
		return errMoved
	}
	return err
}

// A change waits in the queue for a commit.
type change struct {
	apply func(*batch) error
	size  int
	err   error
	done  bool
}

// maxBatch bounds the values of one commit, in bytes: bbolt has them in memory twice.
const maxBatch = 16 << 20

// update commits apply. The caller that gets the lock commits the changes of all that
// wait for it: a commit has what was queued during the previous one, and no caller waits
// for more to come.
//
// If the commit fails, the change may still be stored. Nothing builds on what is
// uncertain: each commit starts from what is in the file.
func (s *Store) update(size int, apply func(*batch) error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.readOnly:
		return fmt.Errorf("write to store %s: %w", s.path, ErrReadOnly)
	}
	c := &change{apply: apply, size: size}
	s.queued.Lock()
	s.queue = append(s.queue, c)
	s.queued.Unlock()

	s.committed.Lock()
	defer s.committed.Unlock()
	for !c.done {
		s.commit(s.dequeue())
	}
	return c.err
}

func (s *Store) dequeue() []*change {
	s.queued.Lock()
	defer s.queued.Unlock()
	n, size := 0, 0
	for n < len(s.queue) && (n == 0 || size+s.queue[n].size <= maxBatch) {
		size += s.queue[n].size
		n++
	}
	changes := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return changes
}

// errUnchanged rolls back a transaction without changes.
var errUnchanged = errors.New("no change")

func (s *Store) commit(changes []*change) {
	var b *batch
	err := s.guard(func() error {
		if err := s.settle(); err != nil {
			return err
		}
		return s.db.Update(func(tx *bolt.Tx) (err error) {
			if b, err = s.begin(tx); err != nil {
				return err
			}
			for _, c := range changes {
				c.err = c.apply(b)
			}
			if len(b.changed) == 0 {
				return errUnchanged
			}
			return b.write(tx)
		})
	})
	stored := err == nil
	switch {
	case errors.Is(err, errUnchanged):
		err = nil
	case err != nil && b != nil:
		// It may have reached the file and not the disk, and then others read it.
		s.settled = false
		snap, _, e := newest(s.file)
		if stored = e == nil && snap.transaction == b.id; stored {
			err = fmt.Errorf("%w (the change may be stored)", err)
		}
	}
	if stored {
		s.watches.publish(b.events)
	} else {
		s.usage = nil
	}
	for _, c := range changes {
		if c.done = true; err != nil {
			c.err = fmt.Errorf("write to store %s: %w", s.path, err)
		}
	}
}

// settle makes sure that the latest commit is on disk, of which a failed sync leaves that
// in doubt: the kernel reports the error once, and takes the page for clean. The next
// commit overwrites what the commit before the latest has, to which the disk might fall
// back.
func (s *Store) settle() error {
	if s.settled {
		return nil
	}
	snap, _, err := newest(s.file)
	if err != nil {
		return err
	}
	page := make([]byte, snap.pageSize)
	if err := readAt(s.file, page, snap.at); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(page, snap.at); err != nil {
		return err
	}
	if err := fsync(s.file); err != nil {
		return err
	}
	s.settled = true
	return nil
}

// SigningKey returns the key that signs participant tokens. It is derived from the
// room key.
func (s *Store) SigningKey() secret.Value { return s.seal.tokens }

// Close waits for calls that run, and releases the file.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.doubt == nil && !s.broken.Load() && !s.readOnly && s.settle() == nil {
		s.remember()
	}
	return s.release()
}

func (s *Store) release() error {
	switch {
	case s.db != nil && !s.broken.Load():
		return s.db.Close()
	case s.file != nil:
		return s.abandon()
	}
	return nil
}

// abandon closes the file without bbolt, which may have panicked while it held one of
// its locks. The lock of the file has to be released, since the mapping, which stays
// until the process exits, would retain it.
func (s *Store) abandon() error {
	return errors.Join(unix.Flock(int(s.file.Fd()), unix.LOCK_UN), s.file.Close())
}

// discard releases a file that did not open.
func (s *Store) discard() { _ = s.release() }

// fsync is replaced in tests.
var fsync = (*os.File).Sync

// createFile creates the file at path with what write writes to a temporary file. No
// process sees it before it is complete and on disk. If path exists meanwhile, that
// file stays, without an error.
func createFile(path string, write func(*os.File) error) error {
	return newFile(path, write, func(from, to string) error {
		if err := os.Link(from, to); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// replaceFile is createFile, and replaces the file at path if it exists. The caller
// holds its lock, which is that of the file and not of its name.
func replaceFile(path string, write func(*os.File) error) error {
	return newFile(path, write, os.Rename)
}

// newFile gives what write writes its name when it is on disk, and syncs the directory.
func newFile(path string, write func(*os.File) error, name func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := fsync(f); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsync(dir)
}
