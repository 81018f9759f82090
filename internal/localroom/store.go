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

// Errors of a [Store].
var (
	// ErrLocked means that another process has the store open.
	ErrLocked = errors.New("another process has the store open")
	// ErrDamaged means that the file is not what roomenv wrote.
	ErrDamaged = errors.New("file is damaged or not a store")
	// ErrWrongKey means that the store was created with a different key.
	ErrWrongKey = errors.New("wrong room key")
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
// concurrent use; concurrent changes share one commit.
type Store struct {
	path string
	seal *sealer

	open   sync.RWMutex // held for writing by Close
	file   *os.File
	db     *bolt.DB // nil once closed
	broken atomic.Bool
	torn   bool // a meta page was damaged when the store was opened

	queued    sync.Mutex
	queue     []*change
	committed sync.Mutex       // held while a batch is committed
	usage     map[string]int64 // see batch.used; guarded by committed

	watches watches
}

var (
	bucketStore  = []byte("store")
	bucketInfo   = []byte("info")
	bucketValues = []byte("values")

	keyCheck  = []byte("check")
	keyTotals = []byte("totals")
)

// totals are part of every commit, so that lost records are noticed.
type totals struct {
	records  uint64
	sequence uint64 // of the latest change
}

func (s *Store) readTotals(tx *bolt.Tx) (totals, error) {
	b, err := s.seal.open(kindTotals, nil, 0, tx.Bucket(bucketStore).Get(keyTotals))
	if err != nil || len(b) != 16 {
		return totals{}, fmt.Errorf("%w: invalid totals", ErrDamaged)
	}
	return totals{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

func (s *sealer) writeTotals(tx *bolt.Tx, t totals) error {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.records), t.sequence)
	return tx.Bucket(bucketStore).Put(keyTotals, s.seal(kindTotals, nil, 0, b))
}

// OpenStore opens the store at path for this process alone, and creates it if it does
// not exist. It reads every page and every record, except for the values, and changes
// nothing if it fails: with [ErrDamaged], [ErrWrongKey], [ErrLocked] or an error of
// the system.
func OpenStore(path string, key secret.Value) (*Store, error) {
	seal, err := newSealer(key)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createStore(path, seal); err != nil {
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

// fsync is replaced in tests.
var fsync = (*os.File).Sync

// createFile creates the file at path with what write writes to a temporary file. No
// process sees it before it is complete and on disk. If path exists meanwhile, that
// file stays, without an error. The directory is synced before createFile returns.
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

// openFile locks and checks the file before bbolt reads it. bbolt locks it again,
// which is the same lock: it belongs to the open file.
func (s *Store) openFile(path string, flags int, mode os.FileMode) (_ *os.File, err error) {
	if s.file, err = os.OpenFile(path, flags&^os.O_CREATE|unix.O_NONBLOCK, mode); err != nil {
		return nil, err
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	if err := unix.Flock(int(s.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrLocked
	} else if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%w: the file is empty", ErrDamaged)
	}
	data, err := unix.Mmap(int(s.file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map file: %w", err)
	}
	defer func() { _ = unix.Munmap(data) }()
	if s.torn, err = checkPages(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s.file, nil
}

// verify decrypts every record except for the values.
func (s *Store) verify(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketStore, bucketInfo, bucketValues} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: missing bucket %s", ErrDamaged, name)
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
		// Get finds a key only if the pages on the way to it are in order.
		if !bytes.Equal(key, value) || info.Get(key) == nil || values.Get(key) == nil {
			return fmt.Errorf("%w: records and values do not match", ErrDamaged)
		}
		value, _ = next.Next()
		records++
		return nil
	})
	if err == nil && (records != totals.records || value != nil) {
		err = fmt.Errorf("%w: found %d of %d records", ErrDamaged, records, totals.records)
	}
	return err
}

// guard runs f, which reads or writes the database. A panic of bbolt and a fault in
// the mapping of a file that was truncated become [ErrDamaged], which every later
// call returns too.
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

// checkSize fails if the file was truncated since it was opened.
func (s *Store) checkSize(tx *bolt.Tx) error {
	info, err := s.file.Stat()
	if err == nil && info.Size() < tx.Size() {
		err = fmt.Errorf("%w: the file was truncated", ErrDamaged)
	}
	return err
}

// view runs f in a read transaction. Its bytes are invalid after that.
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

// A change waits in the queue for a commit.
type change struct {
	apply func(*batch) error
	size  int
	err   error
	done  bool
}

// A batch has the changes of one commit.
type batch struct {
	*Store
	totals
	info, values *bolt.Bucket
	events       []changeEvent
}

// maxBatch bounds the values of one commit, in bytes: bbolt has them in memory twice.
const maxBatch = 16 << 20

// update commits apply, which either fails before it writes or does not fail. The
// caller that gets the lock commits the changes of all that wait for it: a commit has
// what was queued during the previous one, and no caller waits for more to come.
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
	} else {
		s.usage = nil
	}
	for _, c := range changes {
		if c.done = true; err != nil {
			c.err = fmt.Errorf("write to store %s: %w", s.path, err)
		}
	}
}

// errWrite is wrapped by errors that make the transaction unusable.
var errWrite = errors.New("write failed")

// SigningKey returns the key that signs participant tokens. It is derived from the
// room key.
func (s *Store) SigningKey() secret.Value { return s.seal.tokens }

// Close waits for calls that run, and releases the file.
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

// abandon closes the file without bbolt, which may have panicked while it held one of
// its locks. The lock of the file has to be released, since the mapping, which stays
// until the process exits, would retain it.
func (s *Store) abandon() error {
	return errors.Join(unix.Flock(int(s.file.Fd()), unix.LOCK_UN), s.file.Close())
}

// discard releases a file that did not open.
func (s *Store) discard() {
	switch {
	case s.db != nil && !s.broken.Load():
		_ = s.db.Close()
	case s.file != nil:
		_ = s.abandon()
	}
}
