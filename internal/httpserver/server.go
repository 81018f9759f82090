// Package httpserver serves HTTP within bounds: of connections, headers, bodies and
// time. Each connection is for one request, so that none is idle when the server
// closes.
package httpserver

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/notify"
)

const (
	defaultMaxConnections = 256
	defaultMaxBody        = 16 << 10 // bytes
	maxHeader             = 32 << 10 // bytes

	// A handler that serves an authenticated client may extend these with
	// [http.ResponseController].
	readTimeout  = 5 * time.Second
	writeTimeout = time.Minute // with the time that the handler takes

	// minIdle is how long a connection may take for its request, however many wait.
	minIdle = 250 * time.Millisecond

	// closeTimeout is how long clients have, once the server closes, to read the
	// responses of handlers that return.
	closeTimeout = time.Second
)

// Config says what is served. Handlers get a response with the headers of content
// that no cache, frame, script or other origin may use; they replace those that a
// page needs otherwise. Limits that are 0 are those of small requests.
type Config struct {
	Handler http.Handler
	Logger  *slog.Logger // nil discards
	TLS     *tls.Config  // nil serves HTTP in cleartext
	MaxBody int64        // bytes

	// MaxConnections bounds those at once that no handler has hijacked. Each further
	// one takes the place of the oldest that no handler serves yet, once that has had
	// the time to send a request, so that silent peers do not keep out others.
	MaxConnections int
}

// Run serves l until ctx ends, which ends the contexts of the requests. It closes l,
// and returns when no handler runs. The error is nil after ctx ended, or says why l
// failed. When another goroutine closes l, the requests that are running finish
// first.
func Run(ctx context.Context, l net.Listener, c Config) error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var connections sync.WaitGroup // net/http counts one in before Serve can return
	var protocols http.Protocols
	protocols.SetHTTP1(true) // HTTP/2 has many requests in a connection, and no hijacking
	server := http.Server{
		Handler:        http.MaxBytesHandler(withHeaders(served(c.Handler)), cmp.Or(c.MaxBody, defaultMaxBody)),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		MaxHeaderBytes: maxHeader,
		TLSConfig:      c.TLS,
		Protocols:      &protocols,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, accepted(c))
		},
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateHijacked:
				accepted(c).release()
				connections.Done()
			case http.StateClosed:
				connections.Done()
			}
		},
	}
	server.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	limited := &limited{
		Listener: l, max: cmp.Or(c.MaxConnections, defaultMaxConnections),
		freed: notify.Slot(), closed: ctx.Done(),
	}
	serve := func() error { return server.Serve(limited) }
	if c.TLS != nil {
		serve = func() error { return server.ServeTLS(limited, "", "") }
	}
	err := serve()
	if ctx.Err() != nil {
		err = nil
	} else if !errors.Is(err, net.ErrClosed) {
		cancel()
	}

	grace, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(closeTimeout, giveUp) })()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	connections.Wait()
	return err
}

// A Server is a [Run] in a goroutine of its own.
type Server struct {
	cancel context.CancelFunc
	run    sync.WaitGroup
	err    error
}

// Serve serves l until [Server.Close].
func Serve(l net.Listener, c Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cancel: cancel}
	s.run.Go(func() { s.err = Run(ctx, l, c) })
	return s
}

// Close ends the contexts of the requests and returns when no handler runs. The
// error says why the listener had failed, if it had.
func (s *Server) Close() error {
	s.cancel()
	s.run.Wait()
	return s.err
}

func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// limited bounds the connections of a listener.
type limited struct {
	net.Listener
	max    int
	freed  chan struct{} // one slot
	closed <-chan struct{}

	mu    sync.Mutex
	count int
	idle  list.List // of *connection: those that no handler serves, the oldest first
}

// Accept returns a connection once there is room for it, which it makes if it can.
func (l *limited) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, of: l, since: time.Now()}
	for {
		wait, ok := l.add(c)
		if ok {
			return c, nil
		}
		select {
		case <-l.freed:
		case <-wait:
		case <-l.closed:
			_ = conn.Close()
			return nil, net.ErrClosed
		}
	}
}

// add counts c if there is room for it, or returns when to try again at the latest; nil
// is never.
func (l *limited) add(c *connection) (wait <-chan time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.max {
		oldest := l.idle.Front()
		if oldest == nil {
			return nil, false
		}
		victim := oldest.Value.(*connection)
		if left := minIdle - time.Since(victim.since); left > 0 {
			return time.After(left), false
		}
		victim.freeLocked()
		_ = victim.Conn.Close()
	}
	l.count++
	c.idle = l.idle.PushBack(c)
	return nil, true
}

type connection struct {
	net.Conn
	of    *limited
	since time.Time

	idle *list.Element // guarded by of.mu; nil while a handler serves it
	free bool          // guarded by of.mu: it no longer counts
}

func (c *connection) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// release stops counting c.
func (c *connection) release() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.freeLocked()
	notify.Send(c.of.freed)
}

func (c *connection) freeLocked() {
	c.busyLocked()
	if !c.free {
		c.free = true
		c.of.count--
	}
}

func (c *connection) busyLocked() {
	if c.idle != nil {
		c.of.idle.Remove(c.idle)
		c.idle = nil
	}
}

type connectionKey struct{}

// accepted returns the connection below one of [http.Server].
func accepted(c net.Conn) *connection {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*connection)
}

// served marks connections that a handler serves.
func served(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connectionKey{}).(*connection)
		c.of.mu.Lock()
		c.busyLocked()
		c.of.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}
