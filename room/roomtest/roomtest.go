// Package roomtest serves real rooms to tests: those that roomenv has without a
// network, with the same store, permissions and OAuth, on a port of this machine.
// Clients of any language may use them.
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

// A Server serves any number of rooms: one exists as soon as somebody joins it.
// What participants store is there until the test ends.
type Server struct {
	// URL is where the rooms are, for MESHAGENT_ROOM_URL: a room is at
	// URL/rooms/NAME.
	URL string

	tb    testing.TB
	store *localroom.Store
}

// New starts a server without secrets, which is closed when the test ends.
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

// Token signs t with the key of the server. It expires in an hour unless t says
// when.
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

// Config returns how identity joins a room as a user ([token.UserScope]).
func (s *Server) Config(roomName, identity string) room.Config {
	s.tb.Helper()
	signed := s.Token(token.Token{Name: identity, Room: roomName, API: token.UserScope()})
	return room.Config{
		URL:   s.URL + "/rooms/" + roomName,
		Token: func(context.Context) (secret.Value, error) { return signed, nil },
	}
}

// Dial joins a room as identity, until the test ends. Each of configure may add to
// the [Server.Config]: handlers, or a Token with other grants.
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
