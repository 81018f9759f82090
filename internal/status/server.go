// Package status shows the [runner.Status] of a process: to processes of the same
// user on a Unix socket, and as metrics and health on a listener.
package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"

	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/runner"
)

// socket is the name of the socket of a process, in a directory of its own.
const socket = "status.sock"

// A Server shows the status of this process to others of its user.
type Server struct {
	dir  *tmpfs.Dir // nil: the socket has no file
	http *httpserver.Server
}

// Serve serves until Close, on a socket in a directory in memory (see [tmpfs.Open]), or
// without a usable one, on Linux, on one without a file in the network namespace (unix(7),
// abstract):
//
//	GET  /status   a [runner.Status] in JSON
//	POST /refresh  202 when refresh has returned
//
// It calls current for each request; refresh does not wait for values. Both are called by several goroutines at once, until Close returns. A
// nil log discards all.
func Serve(current func() runner.Status, refresh func(), log *slog.Logger) (*Server, error) {
	var l *net.UnixListener
	dir, err := tmpfs.Open("", nil)
	if err == nil {
		l, err = dir.Listen(socket)
	}
	if err != nil {
		err = errors.Join(err, dir.Close())
		var abstractErr error
		if l, abstractErr = listenAbstract(); abstractErr != nil {
			return nil, fmt.Errorf("serve status: %w", errors.Join(err, abstractErr))
		}
		dir = nil
	}
	mux := serveStatus(current)
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, _ *http.Request) {
		refresh()
		w.WriteHeader(http.StatusAccepted)
	})
	return &Server{dir, httpserver.Serve(peercred.Listener{UnixListener: l}, httpserver.Config{Handler: mux, Logger: log})}, nil
}

// ServeIn serves GET /status alone, on a socket in dir, which the caller has opened with
// [tmpfs.OpenShared]. Who may search dir may connect: beside this user the group, if it is
// not nil.
func ServeIn(dir string, group *int, current func() runner.Status, log *slog.Logger) (*Server, error) {
	l, err := tmpfs.ListenShared(filepath.Join(dir, socket), group)
	if err != nil {
		return nil, fmt.Errorf("serve status: %w", err)
	}
	return &Server{nil, httpserver.Serve(l, httpserver.Config{Handler: serveStatus(current), Logger: log})}, nil
}

func serveStatus(current func() runner.Status) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(current())
	})
	return mux
}

// Close removes the socket.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.dir.Close()) }
