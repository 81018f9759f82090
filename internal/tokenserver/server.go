// Package tokenserver serves current OAuth tokens to the command, for programs that
// get a fresh token for each call: over HTTP, on loopback or on a Unix socket, to
// clients that send the bearer token in the command's environment. It has the shape
// of the container credentials endpoint of AWS (AWS_CONTAINER_CREDENTIALS_FULL_URI,
// AWS_CONTAINER_AUTHORIZATION_TOKEN).
package tokenserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

// The variables of the command.
const (
	URLVariable           = "ROOMENV_TOKEN_URL"           // ends with a slash; add the name of a client
	AuthorizationVariable = "ROOMENV_TOKEN_AUTHORIZATION" // the value of the Authorization header
	SocketVariable        = "ROOMENV_TOKEN_SOCKET"        // the socket to connect to; with [Unix] only
)

// Networks.
const (
	TCP  = "tcp"  // 127.0.0.1, a port that is free
	Unix = "unix" // a socket in a directory in memory (package tmpfs)
)

const (
	path         = "/oauth/"
	tokenTimeout = 30 * time.Second
)

// A Source returns the access token of a client, and when it expires, zero if that is
// not known, such as [runner.Runner.Token]. The text of its error is shown to the
// command, so it names no value.
type Source func(ctx context.Context, client string) (secret.Value, time.Time, error)

// A Server has one address and one bearer token, also when the command is restarted.
type Server struct {
	source Source
	bearer string
	hosts  []string // that requests may name; nil: all
	env    []string

	dir  *tmpfs.Dir // nil with TCP
	http *httpserver.Server
}

// Serve serves until Close. Source is called by several goroutines at once. A socket
// belongs to owner; nil is this user. A nil log discards all.
func Serve(network string, source Source, owner *syscall.Credential, log *slog.Logger) (*Server, error) {
	s := &Server{source: source, bearer: newBearer()}
	l, err := s.listen(network, owner)
	if err != nil {
		return nil, fmt.Errorf("serve tokens: %w", err)
	}
	s.http = httpserver.Serve(l, httpserver.Config{Handler: s, Logger: log})
	return s, nil
}

// newBearer returns a token of 256 bits.
func newBearer() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it does not fail
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *Server) listen(network string, owner *syscall.Credential) (net.Listener, error) {
	s.env = []string{AuthorizationVariable + "=Bearer " + s.bearer}
	switch network {
	case TCP:
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		host := l.Addr().String()
		_, port, _ := net.SplitHostPort(host)
		s.hosts = []string{host, "localhost:" + port}
		s.env = append(s.env, URLVariable+"=http://"+host+path)
		return l, nil
	case Unix:
		var err error
		if s.dir, err = tmpfs.Open("", owner); err != nil {
			return nil, err
		}
		l, err := s.dir.Listen("token.sock")
		if err != nil {
			return nil, errors.Join(err, s.dir.Close())
		}
		s.env = append(s.env, URLVariable+"=http://localhost"+path, SocketVariable+"="+l.Addr().String())
		return l, nil
	}
	return nil, fmt.Errorf("unknown network %q: want %s or %s", network, TCP, Unix)
}

// Environ returns the variables of the command: NAME=VALUE.
func (s *Server) Environ() []string { return s.env }

// Close ends the contexts of requests, waits for them, and removes the socket.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.dir.Close()) }

// ServeHTTP answers GET /oauth/CLIENT with access_token, token_type and, if it is
// known, expires_at (RFC 3339), else with error.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, ok := strings.CutPrefix(r.URL.Path, path)
	switch {
	case !s.named(r.Host):
		refuse(w, http.StatusMisdirectedRequest, "host not allowed: use the address in "+URLVariable)
	case !s.authorized(r.Header.Get("Authorization")):
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(w, http.StatusUnauthorized, "missing or invalid bearer token: send "+AuthorizationVariable+" as the Authorization header")
	case !ok || client == "":
		refuse(w, http.StatusNotFound, "not found: request "+path+"CLIENT, a client under `oauth:` in the manifest")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "method not allowed: use GET")
	default:
		s.token(w, r, client)
	}
}

// named is false for a name that may have been pointed at this machine (DNS
// rebinding). A browser does not get to a Unix socket.
func (s *Server) named(host string) bool { return s.hosts == nil || slices.Contains(s.hosts, host) }

func (s *Server) authorized(header string) bool {
	scheme, bearer, _ := strings.Cut(header, " ")
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(bearer), []byte(s.bearer)) == 1
}

func (s *Server) token(w http.ResponseWriter, r *http.Request, client string) {
	ctx, cancel := context.WithTimeout(r.Context(), tokenTimeout)
	defer cancel()
	token, expires, err := s.source(ctx, client)
	switch {
	case errors.Is(err, runner.ErrUnknownClient):
		refuse(w, http.StatusNotFound, fmt.Sprintf("get token of %s: %v; define it under `oauth:` in the manifest", client, err))
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("get token of %s: %v", client, err))
	case !utf8.Valid(token.Reveal()):
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("get token of %s: the token is not text", client))
	default:
		answer(w, http.StatusOK, struct {
			AccessToken string    `json:"access_token"`
			TokenType   string    `json:"token_type"`
			Expires     time.Time `json:"expires_at,omitzero"`
		}{string(token.Reveal()), "Bearer", expires.UTC().Truncate(time.Second)})
	}
}

func refuse(w http.ResponseWriter, code int, message string) {
	answer(w, code, struct {
		Error string `json:"error"`
	}{message})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body)
}
