// Package roomtest serves rooms to tests: the local room of roomenv, with its store,
// permissions and OAuth, on a port of this machine. Clients in any language can use
// it.
package roomtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A Server serves rooms of any name, which exist once a participant joins them. What
// participants store is deleted when the test ends.
type Server struct {
	// URL is the value for MESHAGENT_ROOM_URL, without a slash at the end. The URL of
	// a room is URL/rooms/NAME.
	URL string

	tb    testing.TB
	store *localroom.Store
}

// New starts an empty server, which is closed when the test ends.
func New(tb testing.TB) *Server {
	tb.Helper()
	key := make([]byte, localroom.KeySize)
	_, _ = rand.Read(key) // never fails
	store, err := localroom.OpenStore(filepath.Join(tb.TempDir(), "room.db"), secret.New(key))
	if err != nil {
		tb.Fatal(err)
	}
	rooms := localroom.NewServer(localroom.ServerConfig{Store: store})
	server := httptest.NewServer(rooms)
	tb.Cleanup(func() {
		_ = rooms.Close()
		server.Close()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &Server{URL: server.URL, tb: tb, store: store}
}

// Token signs t with the key of the server. The default expiry is in an hour.
func (s *Server) Token(t token.Token) secret.Value {
	s.tb.Helper()
	t.KeyID = localroom.KeyID
	t.Expires = cmp.Or(t.Expires, time.Now().Add(time.Hour))
	signed, err := t.Sign(s.store.SigningKey())
	if err != nil {
		s.tb.Fatal(err)
	}
	return signed
}

// Config returns the configuration by which identity joins a room as a user
// ([token.UserScope]).
func (s *Server) Config(roomName, identity string) room.Config {
	s.tb.Helper()
	signed := s.Token(token.Token{Name: identity, Room: roomName, API: token.UserScope()})
	return room.Config{
		URL:   s.URL + "/rooms/" + roomName,
		Token: func(context.Context) (secret.Value, error) { return signed, nil },
	}
}

// Dial joins a room as identity, until the test ends. The functions of configure may
// change the [Server.Config]: set handlers, or a Token with other grants.
func (s *Server) Dial(roomName, identity string, configure ...func(*room.Config)) *room.Client {
	s.tb.Helper()
	config := s.Config(roomName, identity)
	for _, f := range configure {
		f(&config)
	}
	c, err := room.Dial(s.tb.Context(), config)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = c.Close() })
	return c
}
