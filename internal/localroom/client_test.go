package localroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
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

// A list that does not fit into a message comes in pages: the secrets of this identity
// and those delegated to it, each once and with its owner. A client that knows no pages
// gets an error.
func TestListPages(t *testing.T) {
	e := openRoom(t, t.TempDir())
	want := map[room.SecretInfo]bool{}
	set := func(as *room.Client, n room.NewSecret, owner string, listed bool) {
		t.Helper()
		if err := as.Secrets().Set(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if listed {
			want[room.SecretInfo{ID: n.ID, Type: n.Type, Name: n.Name, DelegatedTo: n.DelegatedTo, DelegatedBy: owner}] = true
		}
	}
	ann, bob := dial(t, e), dialAs(t, e, "bob", func(*room.Config) {})
	long := strings.Repeat("\x01", 1000) // six times as long in JSON
	for i := range 80 {
		name := fmt.Sprint(i, long)
		set(ann, room.NewSecret{ID: name, Type: name, Name: name}, "", true)
	}
	set(ann, room.NewSecret{ID: "a", Type: "t", Name: "n", DelegatedTo: "bob"}, "", true)
	set(bob, room.NewSecret{ID: "a", Type: "t", Name: "n", DelegatedTo: "ann"}, "bob", true)
	set(bob, room.NewSecret{ID: "a", Type: "t", Name: "n"}, "", false)
	set(bob, room.NewSecret{ID: "b", Type: "t", Name: "n", DelegatedTo: "carol"}, "", false)

	list, err := ann.Secrets().List(t.Context())
	if err != nil || len(list) != len(want) {
		t.Errorf("%d secrets, want %d, error %v", len(list), len(want), err)
	}
	if !slices.IsSortedFunc(list, func(a, b room.SecretInfo) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted by name")
	}
	for _, i := range list {
		if !want[i] {
			t.Errorf("unexpected or twice: %.20q", fmt.Sprint(i))
		}
		delete(want, i)
	}

	p, err := enter(t.Context(), e, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(p.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})); got != "1008" {
		t.Errorf("without pages: %.80s", got)
	}
	if got := outcome(p.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{Object: []byte(`{"paged":true,"after":"?"}`)})); got != "1002" {
		t.Errorf("after something else: %.80s", got)
	}
	// The mark of a record that is deleted, and one of another room, are places too.
	page := func(after string) (result wire.SecretList) {
		t.Helper()
		c, err := p.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{Object: object(wire.ListArguments{Paged: true, After: wire.Nullable(after)})})
		answer, ok := c.(wire.JSON)
		if err := errors.Join(err, json.Unmarshal(answer.Object, &result)); err != nil || !ok {
			t.Fatalf("got %v, %v", c, err)
		}
		return result
	}
	first := page("")
	last := first.Secrets[len(first.Secrets)-1]
	if err := ann.Secrets().Delete(t.Context(), last.ID, string(last.DelegatedTo)); err != nil {
		t.Fatal(err)
	}
	n := len(first.Secrets)
	for next := first.Next; next != ""; {
		p := page(string(next))
		n, next = n+len(p.Secrets), p.Next
	}
	if n != len(list) {
		t.Errorf("%d secrets in pages, want %d", n, len(list))
	}
	if other := page("AAAA"); len(other.Secrets) < len(first.Secrets)-1 || other.Secrets[0] != first.Secrets[0] { // secrets differ in size
		t.Errorf("from elsewhere: %d secrets", len(other.Secrets))
	}
}
