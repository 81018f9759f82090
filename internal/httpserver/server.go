// Package httpserver serves HTTP within bounds: of connections, headers, bodies and
// time. Each connection is for one request, so that none is idle when the server
// closes.
package httpserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	defaultMaxConnections = 64
	defaultMaxBody        = 16 << 10 // bytes
	maxHeader             = 32 << 10 // bytes

	// A handler that serves an authenticated client may extend these with
	// [http.ResponseController].
	readTimeout  = 5 * time.Second
	writeTimeout = time.Minute // with the time that the handler takes

	// closeTimeout is how long clients have, once the server closes, to read the
	// responses of handlers that return.
	closeTimeout = time.Second
)

// Config says what is served. Handlers get a response with the headers of content
// that no cache, frame, script or other origin may use; they replace those that a
// page needs otherwise. Limits that are 0 are those of small requests.
type Config struct {
	Handler        http.Handler
	Logger         *slog.Logger // nil discards
	MaxConnections int          // at once; further ones wait
	MaxBody        int64        // bytes
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
	server := http.Server{
		Handler:        http.MaxBytesHandler(withHeaders(c.Handler), cmp.Or(c.MaxBody, defaultMaxBody)),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateHijacked, http.StateClosed:
				connections.Done()
			}
		},
	}
	server.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	slots := make(chan struct{}, cmp.Or(c.MaxConnections, defaultMaxConnections))
	err := server.Serve(&limited{l, slots, ctx.Done()})
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

// limited has a slot for each connection.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed <-chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &connection{conn, sync.OnceFunc(func() { <-l.slots })}, nil
}

type connection struct {
	net.Conn
	release func()
}

func (c *connection) Close() error {
	defer c.release()
	return c.Conn.Close()
}
