package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/internal/tmpfs"
)

// socket is the name of the socket of a process, in a folder of its own.
const socket = "status.sock"

// A Server tells other processes of the user of this one.
type Server struct {
	dir  *tmpfs.Dir
	http *httpserver.Server
}

// Serve serves until Close, on a socket in the first folder for what is in
// memory that will do (see [tmpfs.Open]):
//
//	GET  /status   a [Report] in JSON
//	POST /refresh  202 when refresh has returned
//
// Report is called for each request, and Serve fills in PID and Ready; refresh
// begins to fetch all values anew, and does not wait for them. Both are called by
// several goroutines at once, until Close returns. A nil log is none.
func Serve(report func() Report, refresh func(), log *slog.Logger) (*Server, error) {
	dir, err := tmpfs.Open("", nil)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the status: %w", err)
	}
	l, err := dir.Listen(socket)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot serve the status: %w", err), dir.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		r := report()
		r.PID, r.Ready = os.Getpid(), len(r.Unready()) == 0
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, _ *http.Request) {
		refresh()
		w.WriteHeader(http.StatusAccepted)
	})
	return &Server{dir, httpserver.Serve(peercred.Listener{UnixListener: l}, httpserver.Config{Handler: mux, Logger: log})}, nil
}

// Close removes the socket.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.dir.Close()) }
