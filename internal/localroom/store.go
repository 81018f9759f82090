package localroom

import (
	"bytes"
	"encoding/binary"
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

// Errors of a store, to be told apart with [errors.Is].
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("another process has the store open")
	// ErrDamaged: the file is not what this program wrote.
	ErrDamaged = errors.New("the file is damaged, or no store")
	// ErrWrongKey: the store was made with another key.
	ErrWrongKey = errors.New("the key does not fit the store")
	// ErrNotFound: there is no such secret.
	ErrNotFound = errors.New("no such secret")
	// ErrInvalid: what was asked for is no address of a secret.
	ErrInvalid = errors.New("invalid request")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// A Store keeps the secrets of rooms in one bbolt file. Values and what
// describes them are sealed with the room key; the keys of the database are
// keyed hashes, so that the file does not tell names either.
//
// A change is on the disk when the call that made it returns. Calls are safe
// for concurrent use; changes made at the same time share one commit.
type Store struct {
	path string
	seal *sealer

	open   sync.RWMutex // held for writing by Close
	file   *os.File
	db     *bolt.DB // nil once closed
	broken atomic.Bool
	torn   bool // a meta page was damaged when it was opened

	queued    sync.Mutex
	queue     []*change
	committed sync.Mutex // held while a batch is committed

	watches watches
}

var (
	bucketStore  = []byte("store")
	bucketInfo   = []byte("info")
	bucketValues = []byte("values")

	keyCheck  = []byte("check")
	keyTotals = []byte("totals")
)

// totals are sealed with every commit, so that a file that lost records is
// known.
type totals struct {
	records  uint64
	sequence uint64 // of the latest change
}

func (s *Store) readTotals(tx *bolt.Tx) (totals, error) {
	b, err := s.seal.open(kindTotals, nil, 0, tx.Bucket(bucketStore).Get(keyTotals))
	if err != nil || len(b) != 16 {
		return totals{}, fmt.Errorf("%w: the totals do not open", ErrDamaged)
	}
	return totals{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

func (s *sealer) writeTotals(tx *bolt.Tx, t totals) error {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.records), t.sequence)
	return tx.Bucket(bucketStore).Put(keyTotals, s.seal(kindTotals, nil, 0, b))
}

// OpenStore opens the store at path, which only one process can at a time, and
// makes it when there is none. It looks at every page and at every record
// except for the values, and fails with [ErrDamaged], [ErrWrongKey],
// [ErrLocked] or an error of the system before it changes anything.
func OpenStore(path string, key secret.Value) (*Store, error) {
	seal, err := newSealer(key)
	if err != nil {
		return nil, fmt.Errorf("cannot open the store %s: %w", path, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createStore(path, seal); err != nil {
			return nil, fmt.Errorf("cannot create the store %s: %w", path, err)
		}
	}
	s := &Store{path: path, seal: seal}
	if err := s.load(); err != nil {
		s.discard()
		return nil, fmt.Errorf("cannot open the store %s: %w%s", path, err, remedy(err))
	}
	return s, nil
}

// remedy is what a person can do about a store that does not open.
func remedy(err error) string {
	switch {
	case errors.Is(err, ErrDamaged):
		return "\nhint: restore it from a backup, or move it away to begin with an empty room"
	case errors.Is(err, ErrWrongKey):
		return "\nhint: use the room.key, or the ROOMENV_ROOM_KEY, that the store was made with"
	}
	return ""
}

func createStore(path string, seal *sealer) error {
	return createFile(path, func(f *os.File) error {
		db, err := bolt.Open(f.Name(), 0o600, nil)
		if err != nil {
			return err
		}
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{bucketStore, bucketInfo, bucketValues} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			return errors.Join(tx.Bucket(bucketStore).Put(keyCheck, seal.checkRecord()), seal.writeTotals(tx, totals{}))
		})
		return errors.Join(err, db.Close())
	})
}

// fsync is another function in tests.
var fsync = (*os.File).Sync

// createFile makes a file, which has its path once it is complete and on disk: no
// process meets half of it, and of two that make it the first one wins, which is
// no error. The path is on disk when it returns.
func createFile(path string, write func(*os.File) error) error {
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
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsync(dir)
}

func (s *Store) load() error {
	return s.guard(func() (err error) {
		s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{NoStatistics: true, OpenFile: s.openFile})
		if err != nil {
			return err
		}
		return s.db.View(s.verify)
	})
}

// openFile locks and checks the file before bbolt sees it. bbolt locks it
// again, which is the same lock, for a lock belongs to an open file.
func (s *Store) openFile(path string, flags int, mode os.FileMode) (_ *os.File, err error) {
	if s.file, err = os.OpenFile(path, flags&^os.O_CREATE|unix.O_NONBLOCK, mode); err != nil {
		return nil, err
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no regular file", ErrDamaged)
	}
	if err := unix.Flock(int(s.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrLocked
	} else if err != nil {
		return nil, fmt.Errorf("cannot lock it: %w", err)
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	data, err := unix.Mmap(int(s.file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map it: %w", err)
	}
	defer func() { _ = unix.Munmap(data) }()
	if s.torn, err = checkPages(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s.file, nil
}

// verify opens every record but the values.
func (s *Store) verify(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketStore, bucketInfo, bucketValues} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: the bucket %s is missing", ErrDamaged, name)
		}
	}
	if err := s.seal.verifyCheckRecord(tx.Bucket(bucketStore).Get(keyCheck)); err != nil {
		return err
	}
	totals, err := s.readTotals(tx)
	if err != nil {
		return err
	}
	var records uint64
	info, values := tx.Bucket(bucketInfo), tx.Bucket(bucketValues)
	next := values.Cursor()
	value, _ := next.First()
	err = info.ForEach(func(key, box []byte) error {
		if _, err := s.openInfo(key, box); err != nil {
			return err
		}
		// A search finds only what is in order, and every key on the way to it.
		if !bytes.Equal(key, value) || info.Get(key) == nil || values.Get(key) == nil {
			return fmt.Errorf("%w: a record has no value", ErrDamaged)
		}
		value, _ = next.Next()
		records++
		return nil
	})
	if err == nil && (records != totals.records || value != nil) {
		err = fmt.Errorf("%w: %d records of %d are there", ErrDamaged, records, totals.records)
	}
	return err
}

// guard runs f, which reads or writes the database. bbolt panics at what it
// does not expect, and a mapped file that was cut faults; both come out as
// [ErrDamaged], and the store does nothing more from then on.
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

// checkSize finds a file that was truncated while it is open.
func (s *Store) checkSize(tx *bolt.Tx) error {
	info, err := s.file.Stat()
	if err == nil && info.Size() < tx.Size() {
		err = fmt.Errorf("%w: it was truncated", ErrDamaged)
	}
	return err
}

// view runs f in a read transaction, the bytes of which end with it.
func (s *Store) view(f func(*bolt.Tx) error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	return s.guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			if err := s.checkSize(tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// A change is queued for a commit.
type change struct {
	apply func(*batch) error
	size  int
	err   error
	done  bool
}

// A batch is the changes of one commit.
type batch struct {
	*Store
	totals
	info, values *bolt.Bucket
	events       []changeEvent
}

// maxBatch bounds the bytes that one commit takes, as bbolt holds them twice.
const maxBatch = 16 << 20

// update commits apply, which fails before it writes or not at all. Whoever
// gets the lock first commits what all who wait for it have queued, so that a
// commit is shared by as many as came during the one before, and nobody waits
// for others to come.
func (s *Store) update(size int, apply func(*batch) error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	if s.db == nil {
		return ErrClosed
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

func (s *Store) commit(changes []*change) {
	b := &batch{Store: s}
	err := s.guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) (err error) {
			if err := s.checkSize(tx); err != nil {
				return err
			}
			if b.totals, err = s.readTotals(tx); err != nil {
				return err
			}
			b.info, b.values = tx.Bucket(bucketInfo), tx.Bucket(bucketValues)
			for _, c := range changes {
				if c.err = c.apply(b); errors.Is(c.err, errWrite) {
					return c.err
				}
			}
			return s.seal.writeTotals(tx, b.totals)
		})
	})
	if err == nil {
		s.watches.publish(b.events)
	}
	for _, c := range changes {
		if c.done = true; err != nil {
			c.err = fmt.Errorf("cannot write to the store %s: %w", s.path, err)
		}
	}
}

// errWrite is wrapped by an error after which a transaction is of no use.
var errWrite = errors.New("a write failed")

// SigningKey returns the key that the store's participant tokens are signed
// with, derived from the room key.
func (s *Store) SigningKey() secret.Value { return s.seal.tokens }

// Close waits for calls under way and lets go of the file.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if s.broken.Load() {
		return s.abandon()
	}
	return db.Close()
}

// abandon takes the file away from under a bbolt that may have panicked with a
// lock of its own in hand. Its mapping stays until the process ends and would
// keep the lock of the file.
func (s *Store) abandon() error {
	return errors.Join(unix.Flock(int(s.file.Fd()), unix.LOCK_UN), s.file.Close())
}

// discard lets go of a file that did not open.
func (s *Store) discard() {
	switch {
	case s.db != nil && !s.broken.Load():
		_ = s.db.Close()
	case s.file != nil:
		_ = s.abandon()
	}
}
