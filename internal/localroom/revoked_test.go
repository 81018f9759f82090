package localroom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A session ends with its token, and a client with a new one is back at once.
func TestSessionEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := bubble(t)
		var issued []time.Time
		start := time.Now()
		c, err := room.Dial(t.Context(), room.Config{URL: "ws://room/rooms/demo", DialContext: l.dial, Token: func(context.Context) (secret.Value, error) {
			issued = append(issued, time.Now())
			return signFor(t, store, "ann", 20*time.Second), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second) // two pings at once would block a pipe
		if _, err := c.Secrets().List(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for i, at := range issued {
			if late := at.Sub(start) - time.Duration(i)*20*time.Second; late < 0 || late > 3*time.Second {
				t.Errorf("token %d is needed %v late", i, late)
			}
		}
		if len(issued) != 3 {
			t.Errorf("%d tokens", len(issued))
		}
	})
}

func TestRevoke(t *testing.T) {
	s := serve(t)
	join := func(id string) (*peer, error) {
		return connect(t.Context(), nil, s.URL+"/rooms/demo", sign(t, s.dir, token.Token{Name: "ann", Room: "demo", API: scoped(), ID: id}))
	}
	var peers []*peer
	for _, id := range []string{"a", "b"} {
		p, err := join(id)
		if err != nil {
			t.Fatal(err)
		}
		defer p.conn.CloseNow()
		peers = append(peers, p)
	}
	for range 2 {
		if err := s.local.Revoke("a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := peers[0].receive(soon(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error("the participant with the token stays")
	}
	if err := setSecret(t.Context(), peers[1], "x", "v"); err != nil {
		t.Errorf("one with a different token: %v", err)
	}
	if _, err := join("a"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a revoked token: %v", err)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
