package localroom_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// dial enters the room of e with our own client.
func dial(t testing.TB, e *localroom.Room) *room.Client {
	t.Helper()
	return dialAs(t, e, "ann", func(*room.Config) {})
}

// dialAs is dial by another name, and with what more has to say.
func dialAs(t testing.TB, e *localroom.Room, name string, more func(*room.Config)) *room.Client {
	t.Helper()
	config := room.Config{
		URL:         "ws://room/rooms/demo",
		DialContext: e.DialContext,
		Token:       func(context.Context) (secret.Value, error) { return e.Token("demo", name, token.UserScope()) },
	}
	more(&config)
	c, err := room.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The room changes hands under clients that are at work, and they do not see
// it.
func TestClientsOutliveTheLeader(t *testing.T) {
	dir := t.TempDir()
	var rooms []*localroom.Room
	for range 4 {
		rooms = append(rooms, openRoom(t, dir))
	}
	if err := rooms[0].Acquire(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var working sync.WaitGroup
	const each = 200
	halfway := make(chan struct{}, 3)
	for n, e := range rooms[1:] {
		c := dial(t, e)
		working.Go(func() {
			for i := range each {
				if i == each/2 {
					halfway <- struct{}{}
				}
				id := fmt.Sprint(n, "-", i)
				if err := c.Secrets().Set(ctx, room.NewSecret{ID: id, Value: value(id)}); err != nil {
					t.Error(err)
					return
				}
				if s, err := c.Secrets().Get(ctx, room.SecretQuery{ID: id}); err != nil || !s.Value.Equal(value(id)) {
					t.Error(id, err)
					return
				}
			}
		})
	}
	select {
	case <-halfway:
	case <-ctx.Done():
	}
	if err := rooms[0].Close(); err != nil {
		t.Error(err)
	}
	working.Wait()
	list, err := dial(t, rooms[1]).Secrets().List(t.Context())
	if err != nil || len(list) != 3*each {
		t.Errorf("%d secrets are there, error %v", len(list), err)
	}
}

func TestClientErrors(t *testing.T) {
	e := openRoom(t, t.TempDir())
	c := dial(t, e)
	_, err := c.Secrets().Get(t.Context(), room.SecretQuery{ID: "none"})
	if !errors.Is(err, room.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := c.Secrets().Delete(t.Context(), "none", ""); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	if err := c.Secrets().Set(t.Context(), room.NewSecret{ID: "a", ForIdentity: "bob"}); !errors.Is(err, room.ErrPermissionDenied) {
		t.Errorf("set for bob: %v", err)
	}
}
