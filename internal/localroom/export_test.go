package localroom

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

var DecodeInfo = decodeInfo

// CheckPages checks all pages of a file.
func CheckPages(file []byte) error {
	s, _, err := newestOf(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return err
	}
	return s.checkPages(func([]byte, element) error { return nil })
}

// OpenRecord reads box as the record of some secret.
func OpenRecord(s *Store, box []byte) error {
	_, err := s.seal.openInfo(s.seal.recordKey(RecordKey{Room: "r", Owner: "o", ID: "i"}), box)
	return err
}

// ReadElsewhere makes s read a copy of its file, so that it does not notice that the
// file is truncated, which bbolt has mapped. The lock stays until unlock.
func ReadElsewhere(s *Store, other string) (unlock func() error, err error) {
	s.open.Lock()
	defer s.open.Unlock()
	own := s.file
	s.file, err = os.OpenFile(other, os.O_RDWR, 0)
	return func() error { return errors.Join(unix.Flock(int(own.Fd()), unix.LOCK_UN), own.Close()) }, err
}

// ObserveSyncs has f called with each file or directory that is about to be
// synced, until restore is called. An error of f is that of the sync.
func ObserveSyncs(f func(path string) error) (restore func()) {
	before := fsync
	fsync = func(file *os.File) error { return errors.Join(f(file.Name()), before(file)) }
	return func() { fsync = before }
}

// AwaitQueued returns when n changes wait for a commit.
func AwaitQueued(s *Store, n int) {
	for queued := 0; queued < n; runtime.Gosched() {
		s.queued.Lock()
		queued = len(s.queue)
		s.queued.Unlock()
	}
}

// Commits returns how many commits s has made.
func Commits(s *Store) (n int) {
	_ = s.view(func(c *content) error {
		n = int(c.snapshot.transaction)
		return nil
	})
	return n
}

// UsedSize returns the size of the pages of s that are in use, in bytes.
func UsedSize(s *Store) (n int64) {
	_ = s.view(func(c *content) error {
		n = int64(c.snapshot.pages) * int64(c.snapshot.pageSize)
		return nil
	})
	return n
}

// HoldCommits has changes of s wait until release.
func HoldCommits(s *Store) (release func()) {
	s.committed.Lock()
	return s.committed.Unlock
}

// SetConnections makes s believe it has n.
func SetConnections(s *Server, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.network.connections = n
}

// LeaderPID returns the process that serves the room of e, 0 for none.
func LeaderPID(e *Room) int { return e.leaderPID() }

const (
	MaxEventBytes = maxEventBytes
	MaxEvents     = maxEvents
)

// withOutbox calls f with the outbox of a participant while nothing is written.
func withOutbox(s *Server, participantID string, f func(*outbox)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		if p, err := r.find(participantID); err == nil {
			p.writing.Lock()
			defer p.writing.Unlock()
			p.outbox.mu.Lock()
			defer p.outbox.mu.Unlock()
			f(&p.outbox)
		}
	}
}

// SetUnsent makes s believe that n bytes are queued for a participant.
func SetUnsent(s *Server, participantID string, n int) {
	withOutbox(s, participantID, func(o *outbox) { o.bytes = n })
}

// Unsent returns how many bytes are queued for a participant.
func Unsent(s *Server, participantID string) (n int) {
	withOutbox(s, participantID, func(o *outbox) { n = o.bytes })
	return n
}

// FillQueue queues events for a participant until n are there, none of which is sent
// before release.
func FillQueue(s *Server, participantID string, n int) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		if p, err := r.find(participantID); err == nil {
			p.writing.Lock()
			p.outbox.mu.Lock()
			defer p.outbox.mu.Unlock()
			p.outbox.queue = slices.Repeat([]event{{"note", nil}}, n)
			return p.writing.Unlock
		}
	}
	return nil
}

const (
	MaxPending = maxPending
	MaxWaiting = maxWaiting
)

// RequestedID is the id of a requested secret.
func RequestedID(url, typ string) string {
	return requestedID(wire.Nullable(url), wire.Nullable(typ))
}

// Waiters returns how many wait for the answer to a request.
func Waiters(s *Server, requestID string) int {
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	if r := s.pending.byID[requestID]; r != nil {
		return r.waiters
	}
	return 0
}

const MaxStreams = maxStreams

// Watches returns how many hear of changes.
func Watches(s *Store) (n int) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	for _, some := range s.watches.by {
		n += len(some)
	}
	return n
}

// Doubt returns what is wrong with the records of s.
func Doubt(s *Store) error { return s.doubt }

// TakeAsClosed makes the next process believe that the file at path is how a process
// closed it, which was as original is.
func TakeAsClosed(path, original string, key secret.Value) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	was, err := os.Open(original)
	if err != nil {
		return err
	}
	defer was.Close()
	seal, err := newSealer(key)
	if err != nil {
		return err
	}
	s := &Store{path: path, file: f, seal: seal}
	roots, err := digestRoots(was)
	if err != nil {
		return err
	}
	b, _ := s.state()
	b = append(b[:4*8], roots...)
	return os.WriteFile(path+stateSuffix, seal.seal(kindState, nil, 0, b), 0o600)
}

// Unchanged reports whether the store at path is how a process closed it.
func Unchanged(s *Store) bool { return s.unchanged() }

// WatchAll is watch.
func WatchAll(s *Store, room, identity string, notify func(id string, number uint64, deleted bool)) (stop func()) {
	return s.watch(room, identity, func(e changeEvent) { notify(e.ID, e.Updated, e.deleted) })
}

// Linger is how long s serves on when processes of this machine have connections and the
// latest comes after each of these times.
func Linger(s *Server, connections int, comes ...time.Duration) time.Duration {
	begin := time.Now()
	s.local.connections, s.local.latest = connections, begin
	for _, after := range comes {
		time.AfterFunc(after, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.local.latest = time.Now()
		})
	}
	s.linger()
	return time.Since(begin)
}

// Rejections are those of a server, at a time that stands still.
type Rejections struct{ rejections rejections }

const MaxRejections = maxRejections

func rejectionOf(requester, approver, about string) *request {
	who := &session{room: &liveRoom{name: "demo"}}
	who.who.Name = approver
	return &request{requestKey: requestKey{wire.ProvideSecret, requester, who, RecordKey{"demo", approver, requester, about}}}
}

// Reject adds a rejection.
func (p *Rejections) Reject(requester, approver, about string) {
	p.rejections.now = func() time.Time { return time.Time{}.AddDate(2000, 0, 0) }
	p.rejections.add(rejectionOf(requester, approver, about), "no")
}

// Held reports whether a request would not be sent.
func (p *Rejections) Held(requester, approver, about string) bool {
	return p.rejections.check(rejectionOf(requester, approver, about)) != nil
}

// Len returns for how many pairs of participants there are rejections.
func (p *Rejections) Len() int { return len(p.rejections.byPair) }
