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
	// handoverPause is how long to wait for somebody who has the lock and does
	// not listen yet, or any more, before the next look.
	handoverPause = 5 * time.Millisecond
	// handoverPatience is how long to look.
	handoverPatience = 10 * time.Second

	tokenLifetime = 5 * time.Minute
)

// Options are what an [Room] room may be told; the zero value works.
type Options struct {
	Key       secret.Value                            // the room key; zero: in the file room.key, which is made
	VerifyKey func(keyID string) (secret.Value, bool) // see [ServerConfig.Key]
	Logger    *slog.Logger                            // nil: none
}

// An Room room lives in a folder that the processes of one user share,
// with no daemon: whoever holds the lock on the database serves it on a Unix
// socket beside it, the others connect, and when the holder ends another one
// takes over. Its methods are safe for concurrent use.
type Room struct {
	dir     string
	key     secret.Value
	tokens  secret.Value
	options Options

	mu        sync.Mutex
	holder    *leader // nil: another process holds the room, or nobody
	suspended bool    // the room is for others to hold
	closed    bool
}

// Open opens the room in dir, and makes dir and the key when there are none.
// It takes no lock and opens no store.
func Open(dir string, o Options) (*Room, error) {
	e := &Room{dir: dir, key: o.Key, options: o}
	if err := e.prepare(); err != nil {
		return nil, fmt.Errorf("cannot open the room in %s: %w", dir, err)
	}
	return e, nil
}

func (e *Room) prepare() error {
	if path := e.path(socketFile); len(path) > maxSocketPath {
		return fmt.Errorf("the path of its socket has %d bytes and the system takes %d: use a folder with a shorter path", len(path), maxSocketPath)
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	if e.key.Len() == 0 {
		// A store that is there was made after its key: a new one would not fit.
		_, err := os.Stat(e.path(storeFile))
		if errors.Is(err, fs.ErrNotExist) {
			err = createKey(e.path(keyFile))
		}
		if err != nil {
			return err
		}
		e.key, err = readKey(e.path(keyFile))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there and its key %s is not: put it back, or set ROOMENV_ROOM_KEY", storeFile, keyFile)
		} else if err != nil {
			return err
		}
	}
	seal, err := newSealer(e.key)
	if err != nil {
		return err
	}
	e.tokens = seal.tokens
	return nil
}

func (e *Room) path(file string) string { return filepath.Join(e.dir, file) }

// DialContext connects to whoever serves the room, which is this process when
// nobody else does. Network and address are not looked at, so that it stands
// in for [net.Dialer.DialContext].
func (e *Room) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handoverPatience)
	defer cancel()
	locked := false
	for {
		conn, err := e.connect(ctx)
		if err == nil {
			return conn, nil
		}
		// The dialer may find its time over before ctx does.
		late := ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
		if !nobodyListens(err) && !(locked && late) {
			return nil, fmt.Errorf("cannot connect to the room in %s: %w", e.dir, err)
		}
		taken, err := e.tryAcquire()
		if taken {
			continue
		}
		if locked = errors.Is(err, ErrLocked); err != nil && !locked {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot connect to the room in %s: %w, and does not serve it: %w", e.dir, ErrLocked, ctx.Err())
		case <-time.After(handoverPause):
		}
	}
}

func (e *Room) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", e.path(socketFile))
	if err != nil {
		return nil, err
	}
	if _, err := peercred.Check(conn.(*net.UnixConn)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// nobodyListens tells the state between two holders: no socket, one that is
// left over, or one with more callers than it takes.
func nobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN)
}

// Acquire makes this process the one that serves the room, or fails with an
// error that wraps [ErrLocked] when another one does.
func (e *Room) Acquire() error {
	_, err := e.tryAcquire()
	if !errors.Is(err, ErrLocked) {
		return err
	}
	if pid := e.holderPID(); pid != 0 {
		return fmt.Errorf("%w: process %d", err, pid)
	}
	return err
}

func (e *Room) holderPID() int {
	conn, err := net.Dial("unix", e.path(socketFile))
	if err != nil {
		return 0
	}
	defer conn.Close()
	pid, _ := peercred.Check(conn.(*net.UnixConn))
	return pid
}

// tryAcquire reports whether it took the room, which this process may have already.
func (e *Room) tryAcquire() (taken bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false, ErrClosed
	}
	if e.holder != nil {
		return false, nil
	}
	if e.suspended {
		return false, ErrLocked
	}
	e.holder, err = e.newHolder()
	return err == nil, err
}

// Serve takes connections of l too, until ctx ends or the room is closed. It
// closes l. Hold has to come before it.
func (e *Room) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	e.mu.Lock()
	h := e.holder
	e.mu.Unlock()
	if h == nil {
		return fmt.Errorf("cannot serve the room in %s: it is not held", e.dir)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	if err := h.serve(ctx, l); err != nil {
		return fmt.Errorf("cannot serve the room in %s: %w", e.dir, err)
	}
	return nil
}

// Sign returns t as a token of this room's own key, whoever serves it.
func (e *Room) Sign(t token.Token) (secret.Value, error) {
	t.KeyID = KeyID
	return t.Sign(e.tokens)
}

// Token returns a token that is good for a connection made now.
func (e *Room) Token(room, identity string, scope *token.Scope) (secret.Value, error) {
	return e.Sign(token.Token{Name: identity, Room: room, API: scope, Expires: time.Now().Add(tokenLifetime)})
}

// Close drops the connections that this process serves, so that their clients
// look for the next holder, and lets go of the room.
func (e *Room) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.release()
}

// Suspend is Close until resume is called, for a process that is about to be
// stopped, by which others would be held up.
func (e *Room) Suspend() (resume func()) {
	set := func(suspended bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.suspended = suspended; suspended {
			_ = e.release() // whoever is next opens the store and says what is wrong
		}
	}
	set(true)
	return func() { set(false) }
}

// release lets go of the room; the caller holds the lock.
func (e *Room) release() error {
	if e.holder == nil {
		return nil
	}
	h := e.holder
	e.holder = nil
	return h.close()
}

// A leader has the lock on the store and serves it.
type leader struct {
	store   *Store
	server  *Server
	ctx     context.Context
	cancel  context.CancelFunc
	serving sync.WaitGroup
}

func (e *Room) newHolder() (*leader, error) {
	store, err := OpenStore(e.path(storeFile), e.key)
	if err != nil {
		return nil, err
	}
	l, err := e.listen()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot serve the room in %s: %w", e.dir, err), store.Close())
	}
	server := NewServer(ServerConfig{Store: store, Key: e.options.VerifyKey, Logger: e.options.Logger})
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
// is there is left over from a holder that was killed.
func (e *Room) listen() (*net.UnixListener, error) {
	path := e.path(socketFile)
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
