// Package localroom serves the Room API from one encrypted file, to the other processes
// of the same user or to the network. Section numbers in this package are those of
// docs/room-api.md.
package localroom

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const (
	// maxFrame bounds a frame, in bytes. Peers send packets of about 1 KiB, and the
	// SDKs accept frames of this size.
	maxFrame = 4 << 20

	// pingInterval is the time between pings, and the timeout of each (section 1.4).
	pingInterval = 30 * time.Second
)

// KeyID is the kid claim of tokens that are signed with [Store.SigningKey].
const KeyID = "roomenv"

// ServerConfig configures a [Server].
type ServerConfig struct {
	Store *Store

	// Key returns another key that tokens may be signed with, by their kid claim,
	// which may be "". A nil Key accepts only [Store.SigningKey].
	Key func(keyID string) (secret.Value, bool)

	// PublicProviders makes the server call OAuth providers at public addresses only, for
	// participants that are not trusted with the network of this machine.
	PublicProviders bool

	Logger *slog.Logger // nil discards

	Audit *Audit // records joins and calls; nil records nothing

	// Quota bounds the values that an identity stores from the network, in bytes, with
	// [recordCost] for each secret; 0 for any number.
	Quota int64

	// MaxConnections bounds the connections from the network; 0 is
	// [DefaultMaxConnections]. One identity may have a quarter of them.
	MaxConnections int

	// Now is the clock by which tokens expire; nil is time.Now.
	Now func() time.Time
}

// A Server serves every room of one store at /rooms/NAME. A room exists once a
// participant joins it. It is an [http.Handler] and does not own the store.
type Server struct {
	store    *Store
	key      func(keyID string) (secret.Value, bool)
	log      *slog.Logger
	auditLog *Audit
	quota    int64
	now      func() time.Time
	toolkits map[string]toolkit

	providers oauthprovider.Providers
	pending   *pending

	running context.Context // of all connections
	stop    context.CancelFunc

	tasks sync.WaitGroup // connections, and calls of tools that wait for others

	mu             sync.Mutex
	closed         bool
	network, local *pool
	rooms          map[string]*liveRoom
}

// NewServer returns a running server. [Server.Close] has to be called.
func NewServer(c ServerConfig) *Server {
	s := &Server{store: c.Store, key: c.Key, log: c.Logger, auditLog: c.Audit, quota: c.Quota, now: c.Now, rooms: map[string]*liveRoom{}}
	s.network, s.local = newPool(cmp.Or(c.MaxConnections, DefaultMaxConnections)), newLocalPool()
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.pending = newPending(s.now)
	s.providers = oauthprovider.Providers{Public: c.PublicProviders, Logger: s.log}
	s.running, s.stop = context.WithCancel(context.Background())
	s.toolkits = map[string]toolkit{
		wire.Secrets:   secretsToolkit(c.Store, s.pending, &s.providers, s.now),
		wire.Messaging: messagingToolkit(),
	}
	return s
}

// Close drops every connection without a close frame, after which all clients
// reconnect (section 1.6), and waits for calls that run.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.tasks.Wait()
	return nil
}

const (
	// lingerTimeout bounds linger.
	lingerTimeout = time.Second
	// calm is how long no process of this machine may connect for linger to end.
	calm = 50 * time.Millisecond
)

// linger returns when no process of this machine is connected, or none has come lately.
func (s *Server) linger() {
	for end := time.Now().Add(lingerTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		quiet := s.local.connections == 0 || time.Since(s.local.latest) > calm
		s.mu.Unlock()
		if quiet {
			return
		}
	}
}

var roomPath = regexp.MustCompile(`^/+rooms/([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$`)

// Local serves the processes of this machine's user, which have limits of their own.
func (s *Server) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == revokePath {
			s.serveRevoke(w, r)
			return
		}
		s.serve(w, r, s.local)
	})
}

// ServeHTTP serves the network.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, s.network) }

// serve serves the handshake of a room, and 200 at "/" for health checks. Every
// error is 403 or 404: other statuses crash a client (section 1.5).
func (s *Server) serve(w http.ResponseWriter, r *http.Request, p *pool) {
	if r.URL.Path == "/" {
		_, _ = io.WriteString(w, "a room server of roomenv\n")
		return
	}
	path := roomPath.FindStringSubmatch(r.URL.Path)
	if path == nil {
		http.Error(w, "room not found: want /rooms/NAME with 1 to 63 of a-z, 0-9 and -", http.StatusNotFound)
		return
	}
	room := path[1]
	jwt, protocol := bearer(r)
	who, err := token.Verify(jwt, s.verificationKey, s.now())
	if err == nil && who.Room != room {
		err = errors.New("the token is for another room")
	}
	if err == nil {
		err = s.checkRevoked(who)
	}
	if err != nil {
		s.log.Info("connection refused", "room", room, "remote", r.RemoteAddr, "reason", err)
		http.Error(w, "the token is not valid for this room", http.StatusForbidden)
		return
	}
	live, allowance, err := s.enter(room, who.Name, p)
	if errors.Is(err, errClosing) {
		// Clients reconnect after a dropped connection.
		panic(http.ErrAbortHandler)
	}
	defer s.leave(live, allowance)

	hijacked := &hijacker{ResponseWriter: w}
	conn, acceptErr := websocket.Accept(hijacked, r, &websocket.AcceptOptions{
		Subprotocols: protocol,
		OnPingReceived: func(context.Context, []byte) bool { // whose context has a timeout
			return allowance.pings.Wait(s.running) == nil
		},
		// Peers authenticate with a token and never with a cookie, so that pages of
		// any origin may connect.
		InsecureSkipVerify: true,
	})
	if acceptErr != nil {
		s.log.Debug("WebSocket handshake failed", "room", room, "reason", acceptErr)
		return
	}
	defer func() { _ = conn.CloseNow() }()
	if err != nil {
		// Close waits for the close frame of the peer, which need not send one.
		defer time.AfterFunc(refuseTimeout, func() { _ = hijacked.conn.Close() }).Stop()
		_ = conn.Close(websocket.StatusTryAgainLater, err.Error())
		return
	}
	joined := newSession(s, live, allowance, who, conn)
	joined.remote = r.RemoteAddr
	if p == s.local {
		joined.remote = "local"
	}
	joined.run(s.running, roomURL(r, room))
}

// A hijacker knows the connection below a WebSocket.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements [http.Hijacker].
func (h *hijacker) Hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	h.conn, rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	return h.conn, rw, err
}

// bearer returns the token of r, which may be in three places (section 1.2), and the
// subprotocol that the response has to repeat.
func bearer(r *http.Request) (jwt secret.Value, protocol []string) {
	const subprotocol = "meshagent-room."
	if scheme, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return secret.New([]byte(strings.TrimSpace(t))), nil
	}
	for _, header := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(header, ",") {
			p = strings.TrimSpace(p)
			if t, ok := strings.CutPrefix(p, subprotocol); ok {
				return secret.New([]byte(t)), []string{p}
			}
		}
	}
	return secret.New([]byte(r.URL.Query().Get("token"))), nil
}

func (s *Server) verificationKey(keyID string) (secret.Value, bool) {
	if keyID == KeyID {
		return s.store.SigningKey(), true
	}
	if s.key == nil {
		return secret.Value{}, false
	}
	return s.key(keyID)
}

func roomURL(r *http.Request, room string) string {
	scheme := "ws://"
	if r.TLS != nil {
		scheme = "wss://"
	}
	return scheme + r.Host + "/rooms/" + room
}

var errClosing = errors.New("server is closing")

// enter counts a connection. Unless the error is errClosing, leave has to follow.
func (s *Server) enter(room, identity string, p *pool) (*liveRoom, *allowance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, errClosing
	}
	s.tasks.Add(1)
	a, err := p.enter(identity)
	if err != nil {
		return nil, nil, err
	}
	r := s.rooms[room]
	if r == nil {
		r = &liveRoom{name: room, sessionID: uuid.NewString(), present: map[string]*session{}}
		s.rooms[room] = r
	}
	r.connections++
	return r, a, nil
}

// leave takes the results of enter.
func (s *Server) leave(r *liveRoom, a *allowance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tasks.Done()
	if a == nil {
		return
	}
	a.leave()
	if r.connections--; r.connections == 0 {
		delete(s.rooms, r.name)
	}
}
