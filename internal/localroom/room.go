package localroom

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// Files of an embedded room.
const (
	storeFile  = "room.db"
	keyFile    = "room.key"
	socketFile = "room.sock"
)

// maxSocketPath is what sun_path takes on Linux besides its NUL (unix(7)).
const maxSocketPath = 107

const (
	// failoverInterval is how long to wait for somebody who has the lock and does
	// not listen yet, or any more, before the next look.
	failoverInterval = 5 * time.Millisecond
	// failoverTimeout is how long to look.
	failoverTimeout = 10 * time.Second

	// suspendTimeout bounds how long a process that is told to stop goes on.
	suspendTimeout = time.Second

	tokenLifetime = 5 * time.Minute
)

// Options are what a [Room] may be told; the zero value works.
type Options struct {
	Key       secret.Value                            // the room key; zero: in the file room.key, which is made
	VerifyKey func(keyID string) (secret.Value, bool) // see [ServerConfig.Key]
	Logger    *slog.Logger                            // nil: none
}

// A Room lives in a folder that the processes of one user share,
// with no daemon: whoever holds the lock on the database serves it on a Unix
// socket beside it, the others connect, and when the leader ends another one
// takes over. Its methods are safe for concurrent use.
type Room struct {
	dir     string
	key     secret.Value
	tokens  secret.Value
	options Options

	mu        sync.Mutex
	leader    *leader // nil: another process holds the room, or nobody
	suspended bool    // the room is for others to hold
	closed    bool

	closing sync.WaitGroup // leaders that stepped down
}

// Open opens the room in dir, and makes dir and the key when there are none.
// It takes no lock and opens no store.
func Open(dir string, o Options) (*Room, error) {
	r := &Room{dir: dir, key: o.Key, options: o}
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("cannot open the room in %s: %w", dir, err)
	}
	return r, nil
}

func (r *Room) prepare() error {
	if path := r.path(socketFile); len(path) > maxSocketPath {
		return fmt.Errorf("the path of its socket has %d bytes and the system takes %d: use a folder with a shorter path", len(path), maxSocketPath)
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if r.key.Len() == 0 {
		// A store that is there was made after its key: a new one would not fit.
		_, err := os.Stat(r.path(storeFile))
		if errors.Is(err, fs.ErrNotExist) {
			err = createKey(r.path(keyFile))
		}
		if err != nil {
			return err
		}
		r.key, err = readKey(r.path(keyFile))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there and its key %s is not: put it back, or set ROOMENV_ROOM_KEY", storeFile, keyFile)
		} else if err != nil {
			return err
		}
	}
	seal, err := newSealer(r.key)
	if err != nil {
		return err
	}
	r.tokens = seal.tokens
	return nil
}

func (r *Room) path(file string) string { return filepath.Join(r.dir, file) }

// DialContext connects to whoever serves the room, which is this process when
// nobody else does. Network and address are not looked at, so that it stands
// in for [net.Dialer.DialContext].
func (r *Room) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	locked := false
	for {
		conn, err := r.connect(ctx)
		if err == nil {
			return conn, nil
		}
		// The dialer may find its time over before ctx does.
		late := ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
		if !isNotListening(err) && !(locked && late) {
			return nil, fmt.Errorf("cannot connect to the room in %s: %w", r.dir, err)
		}
		taken, err := r.tryAcquire()
		if taken {
			continue
		}
		if locked = errors.Is(err, ErrLocked); err != nil && !locked {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot connect to the room in %s: %w, and does not serve it: %w", r.dir, ErrLocked, ctx.Err())
		case <-time.After(failoverInterval):
		}
	}
}

func (r *Room) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.path(socketFile))
	if err != nil {
		return nil, err
	}
	if _, err := peercred.Check(conn.(*net.UnixConn)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// isNotListening tells the state between two leaders: no socket, one that is
// left over, or one with more callers than it takes.
func isNotListening(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN)
}

// Acquire makes this process the one that serves the room, or fails with an
// error that wraps [ErrLocked] when another one does.
func (r *Room) Acquire() error {
	_, err := r.tryAcquire()
	if !errors.Is(err, ErrLocked) {
		return err
	}
	if pid := r.leaderPID(); pid != 0 {
		return fmt.Errorf("%w: process %d", err, pid)
	}
	return err
}

func (r *Room) leaderPID() int {
	conn, err := net.Dial("unix", r.path(socketFile))
	if err != nil {
		return 0
	}
	defer conn.Close()
	pid, _ := peercred.Check(conn.(*net.UnixConn))
	return pid
}

// tryAcquire reports whether it took the room, which this process may have already.
func (r *Room) tryAcquire() (taken bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false, ErrClosed
	}
	if r.leader != nil {
		return false, nil
	}
	if r.suspended {
		return false, ErrLocked
	}
	r.leader, err = r.newLeader()
	return err == nil, err
}

// Serve takes connections of l too, until ctx ends or the room is closed. It
// closes l. Hold has to come before it.
func (r *Room) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	r.mu.Lock()
	h := r.leader
	r.mu.Unlock()
	if h == nil {
		return fmt.Errorf("cannot serve the room in %s: it is not held", r.dir)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	if err := h.serve(ctx, l); err != nil {
		return fmt.Errorf("cannot serve the room in %s: %w", r.dir, err)
	}
	return nil
}

// Sign returns t as a token of this room's own key, whoever serves it.
func (r *Room) Sign(t token.Token) (secret.Value, error) {
	t.KeyID = KeyID
	return t.Sign(r.tokens)
}

// Token returns a token that is good for a connection made now.
func (r *Room) Token(room, identity string, scope *token.Scope) (secret.Value, error) {
	return r.Sign(token.Token{Name: identity, Room: room, API: scope, Expires: time.Now().Add(tokenLifetime)})
}

// Close drops the connections that this process serves, so that their clients
// look for the next leader, and releases the store. It waits for refresh tokens
// that a provider is about to send (30 s at most).
func (r *Room) Close() error {
	r.mu.Lock()
	r.closed = true
	done := r.stepDown()
	r.mu.Unlock()
	err := <-done
	r.closing.Wait()
	return err
}

// Suspend is Close until resume is called, for a process that is about to be
// stopped, which would delay others. It takes suspendTimeout at most. If a provider
// is slower, the store stays locked until what it sends is stored: a refresh token
// that replaces another is worth more than the time of those who wait.
func (r *Room) Suspend() (resume func()) {
	r.mu.Lock()
	r.suspended = true
	done := r.stepDown()
	r.mu.Unlock()
	select {
	case <-done: // the next leader opens the store and says what is wrong
	case <-time.After(suspendTimeout):
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.suspended = false
	}
}

// stepDown begins to release the room, and sends the result when that is done. The
// caller holds the lock.
func (r *Room) stepDown() <-chan error {
	done, l := make(chan error, 1), r.leader
	r.leader = nil
	if l == nil {
		done <- nil
	} else {
		r.closing.Go(func() { done <- l.close() })
	}
	return done
}

// A leader has the lock on the store and serves it.
type leader struct {
	store   *Store
	server  *Server
	ctx     context.Context
	cancel  context.CancelFunc
	serving sync.WaitGroup
}

func (r *Room) newLeader() (*leader, error) {
	store, err := OpenStore(r.path(storeFile), r.key)
	if err != nil {
		return nil, err
	}
	l, err := r.listen()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot serve the room in %s: %w", r.dir, err), store.Close())
	}
	server := NewServer(ServerConfig{Store: store, Key: r.options.VerifyKey, Logger: r.options.Logger})
	if store.torn {
		server.log.Warn("one of the two meta pages of the store is damaged: the other one is used, which may lack the last change", "store", store.path)
	}
	h := &leader{store: store, server: server}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.serving.Go(func() { _ = h.serve(h.ctx, peercred.Listener{UnixListener: l}) })
	return h, nil
}

// serve leaves it to the server to refuse connections in its own way.
func (h *leader) serve(ctx context.Context, l net.Listener) error {
	return httpserver.Run(ctx, corked{l}, httpserver.Config{Handler: h.server, Logger: h.server.log, MaxConnections: 2 * maxConnections})
}

// listen makes the socket. Whoever calls it holds the lock, so a socket that
// is there is left over from a leader that was killed.
func (r *Room) listen() (*net.UnixListener, error) {
	path := r.path(socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// close lets go of the lock last: whoever takes it finds no socket, and
// nobody removes the socket of another.
func (h *leader) close() error {
	h.cancel()
	h.serving.Wait() // which removes the socket
	return errors.Join(h.server.Close(), h.store.Close())
}
