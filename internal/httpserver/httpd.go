// Package httpserver serves small answers over HTTP, within bounds: of connections,
// of headers and of time. Each connection is for one request, so that none is
// left when the server ends.
package httpserver

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConnections is how many are open at once; further ones wait.
	maxConnections = 64

	maxHeader = 16 << 10
	maxBody   = 16 << 10

	readTimeout  = 5 * time.Second
	writeTimeout = time.Minute // with the time that the answer takes to make

	// shutdownTimeout is how long the end waits for answers that are under way.
	shutdownTimeout = 200 * time.Millisecond
)

// A Server serves one listener.
type Server struct {
	http    http.Server
	cancel  context.CancelFunc
	serving sync.WaitGroup
}

// Serve serves l until Close, which closes it too. The context of a request ends
// then. A nil log is none.
func Serve(l net.Listener, h http.Handler, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cancel: cancel, http: http.Server{
		Handler:        http.MaxBytesHandler(h, maxBody),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	s.http.SetKeepAlivesEnabled(false)
	s.serving.Go(func() { _ = s.http.Serve(&limited{l, make(chan struct{}, maxConnections)}) })
	return s
}

// Close ends the server: soon, and after the answers that are under way if they
// are quick.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.serving.Wait()
	return err
}

// limited has a slot for each connection.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
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
