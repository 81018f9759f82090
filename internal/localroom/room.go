package localroom

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/internal/trustedpath"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// Files of a local room.
const (
	storeFile   = "room.db"
	keyFile     = "room.key"
	nextKeyFile = "room.key.next" // while the key is rotated
	socketFile  = "room.sock"
)

// maxSocketPath is what sun_path takes on Linux besides its NUL (unix(7)).
const maxSocketPath = 107

const (
	// suspendTimeout bounds [Room.Suspend].
	suspendTimeout = time.Second

	// tokenLifetime of a token for the room socket, which no other process sees.
	tokenLifetime = 24 * time.Hour
)

// Options configure a [Room]. The zero value works.
type Options struct {
	Key    secret.Value // the room key; zero reads the file room.key, and creates it if needed
	Server ServerConfig // its Store is that of the room
}

// A Room is shared by the processes of one user, through a directory and without a
// daemon: the process that holds the lock of the store is the leader and serves the
// room on a Unix socket, the others connect to it, and one of them becomes the leader
// when it exits. Methods are safe for concurrent use.
type Room struct {
	dir     string
	options Options

	mu        sync.Mutex
	leader    *leader // nil: this process is not the leader
	suspended bool    // see Suspend
	closed    bool

	closing sync.WaitGroup // leaders that step down
}

// Open opens the room in dir. It creates dir and the key if they do not exist, takes
// no lock and opens no store.
func Open(dir string, o Options) (*Room, error) {
	r := &Room{dir: dir, options: o}
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("open room %s: %w", dir, err)
	}
	return r, nil
}

func (r *Room) prepare() error {
	if path := r.path(socketFile); len(path) > maxSocketPath {
		return fmt.Errorf("socket path of %d bytes is longer than %d: use a shorter directory", len(path), maxSocketPath)
	}
	if err := makeDir(r.dir); err != nil {
		return err
	}
	// A store is encrypted with the key that was created before it.
	_, err := os.Stat(r.path(storeFile))
	if err == nil {
		err = trustedpath.Check(r.path(storeFile))
	} else if errors.Is(err, fs.ErrNotExist) {
		if err = trustedpath.Check(r.dir); err == nil && r.options.Key.Len() == 0 {
			err = createKey(r.path(keyFile))
		}
	}
	if err != nil {
		return err
	}
	key, err := r.currentKey()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists but its key file %s is missing; restore it or set ROOMENV_ROOM_KEY", storeFile, keyFile)
	} else if err != nil {
		return err
	}
	_, err = newSealer(key)
	return err
}

// makeDir is [os.MkdirAll], and has what it makes on disk.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err == nil {
		return syncDir(filepath.Dir(path))
	}
	if info, e := os.Stat(path); e == nil && info.IsDir() {
		return nil
	}
	return err
}

func (r *Room) path(file string) string { return filepath.Join(r.dir, file) }

// Acquire makes this process the leader. The error wraps [ErrLocked] if another
// process is.
func (r *Room) Acquire() error {
	_, err := r.tryAcquire()
	return r.nameLeader(err)
}

// tryAcquire reports whether this process became the leader, which it may be already.
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

// Serve serves connections of l too, until ctx ends or this process is the leader no
// longer, because of Suspend or Close. It closes l. [Room.Acquire] has to succeed
// before it. With t it speaks TLS.
func (r *Room) Serve(ctx context.Context, l net.Listener, t *tls.Config) error {
	defer l.Close()
	r.mu.Lock()
	h := r.leader
	r.mu.Unlock()
	if h == nil {
		return fmt.Errorf("serve room %s: this process is not the leader", r.dir)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	if err := h.serve(ctx, l, httpserver.Config{Handler: h.server, TLS: t, MaxConnections: maxStrangers}); err != nil {
		return fmt.Errorf("serve room %s: %w", r.dir, err)
	}
	return nil
}

// Sign signs t with the key of the room, which every leader of it accepts. A token
// without an ID gets one.
func (r *Room) Sign(t token.Token) (secret.Value, error) {
	t.KeyID, t.ID = KeyID, cmp.Or(t.ID, rand.Text())
	key, err := r.signingKey()
	if err != nil {
		return secret.Value{}, fmt.Errorf("sign token: %w", err)
	}
	return t.Sign(key)
}

func (r *Room) signingKey() (secret.Value, error) {
	key, err := r.currentKey()
	if err != nil {
		return secret.Value{}, err
	}
	seal, err := newSealer(key)
	if err != nil {
		return secret.Value{}, err
	}
	return seal.tokens, nil
}

// Token returns a participant token for a connection that is made now.
func (r *Room) Token(room, identity string, scope *token.Scope) (secret.Value, error) {
	return r.Sign(token.Token{Name: identity, Room: room, API: scope, Expires: time.Now().Add(tokenLifetime)})
}

// Close drops the connections that this process serves, so that their clients find
// the next leader, and releases the store. While other processes keep connecting it
// serves them for a second more: if many start at once, few of them replace the leader. It first stores the refresh tokens that
// providers are about to send, which takes 30 s at most.
func (r *Room) Close() error {
	r.mu.Lock()
	if l := r.leader; l != nil && !r.closed {
		r.mu.Unlock()
		l.server.linger()
		r.mu.Lock()
	}
	r.closed = true
	done := r.stepDown()
	r.mu.Unlock()
	err := <-done
	r.closing.Wait()
	return err
}

// Suspend is Close until resume is called. It is for a process that is about to be
// stopped, and returns within a second. If a provider is slower, the store stays
// locked until its refresh token is stored: the other processes have to wait then,
// but no authorization is lost.
func (r *Room) Suspend() (resume func()) {
	r.mu.Lock()
	r.suspended = true
	done := r.stepDown()
	r.mu.Unlock()
	select {
	case <-done: //nolint:errcheck // the next leader reports what is wrong with the store
	case <-time.After(suspendTimeout):
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.suspended = false
	}
}

// stepDown begins to release the room, and sends the result when it is released. The
// caller holds r.mu.
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

// A leader holds the lock of the store and serves the room.
type leader struct {
	store   *Store
	server  *Server
	ctx     context.Context
	cancel  context.CancelFunc
	serving sync.WaitGroup
	alone   *alone // of a store that is read-only
}

func (r *Room) newLeader() (*leader, error) {
	key, err := r.currentKey()
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(r.path(storeFile), key)
	if err != nil {
		return nil, err
	}
	h := &leader{store: store}
	var l net.Listener
	if store.readOnly {
		h.alone = newAlone()
		l = h.alone
	} else if l, err = r.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("serve room %s: %w", r.dir, err), store.Close())
	}
	config := r.options.Server
	config.Store = store
	server := NewServer(config)
	if store.doubt != nil {
		server.log.Warn("store was altered", "store", store.path, "reason", store.doubt)
	}
	if store.torn {
		server.log.Warn("meta page of the store is damaged; using the other one, which may lack the last change", "store", store.path)
	}
	h.server = server
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.serving.Go(func() {
		_ = h.serve(h.ctx, l, httpserver.Config{Handler: h.local(), MaxConnections: maxLocalConnections})
	})
	return h, nil
}

// local serves the processes of this user.
func (h *leader) local() http.Handler {
	rooms := h.server.Local()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == snapshotPath {
			h.store.serveSnapshot(w, r)
			return
		}
		rooms.ServeHTTP(w, r)
	})
}

func (h *leader) serve(ctx context.Context, l net.Listener, c httpserver.Config) error {
	c.Logger = h.server.log
	return httpserver.Run(ctx, corked{l}, c)
}

// listen creates the socket. The caller holds the lock, so one that exists is left
// from a leader that was killed.
func (r *Room) listen() (net.Listener, error) {
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
	return peercred.Listener{UnixListener: l}, nil
}

// close releases the lock last: the next leader finds no socket, and no process
// removes the socket of another.
func (h *leader) close() error {
	h.cancel()
	h.serving.Wait() // which removes the socket
	return errors.Join(h.server.Close(), h.store.Close())
}
