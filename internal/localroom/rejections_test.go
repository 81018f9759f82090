package localroom_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// dialSecrets enters the room with our client; answer answers requests for secrets.
func (s *testServer) dialSecrets(name string, answer func(context.Context, *room.Client, room.SecretRequested)) *room.Client {
	s.t.Helper()
	c, err := room.Dial(s.t.Context(), room.Config{
		URL:               s.URL + "/rooms/demo",
		Token:             func(context.Context) (secret.Value, error) { return s.token(name, scoped()), nil },
		OnSecretRequested: answer,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// An approver who said no is not asked the same again and again, on whatever connections.
func TestAskingAgain(t *testing.T) {
	s := serve(t)
	var asked atomic.Int32
	answer := func(ctx context.Context, c *room.Client, r room.SecretRequested) {
		asked.Add(1)
		reason := "not today"
		if r.Request.URL == "w" {
			reason = wire.NoHandler
		}
		if err := c.Secrets().Reject(ctx, r.ID, reason); err != nil {
			t.Errorf("reject: %v", err)
		}
	}
	ann, bot, eve := s.dialSecrets("ann", answer), s.dialSecrets("bot", nil), s.dialSecrets("eve", nil)
	ask := func(asker, approver *room.Client, url string) error {
		_, err := asker.Secrets().Request(t.Context(), room.SecretRequest{ParticipantID: approver.Session().ParticipantID, URL: url, Type: "t", Timeout: 10 * time.Second})
		return err
	}
	refused := func(err error, text string) {
		t.Helper()
		if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), text) {
			t.Errorf("bot gets %v, want %q", err, text)
		}
	}
	for n, delay := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		refused(ask(bot, ann, "u"), "not today (code")
		if asked := int(asked.Load()); asked != n+1 {
			t.Fatalf("ann was asked %d times, want %d", asked, n+1)
		}
		refused(ask(bot, ann, "u"), "not today (ask again in "+delay.String()+")")
		// The room knows both by their identity.
		refused(ask(s.dialSecrets("bot", nil), s.dialSecrets("ann", answer), "u"), "(ask again in ")
		s.ahead.Add(int64(delay) - int64(5*time.Second))
		refused(ask(bot, ann, "u"), "(ask again in ")
		if asked := int(asked.Load()); asked != n+1 {
			t.Fatalf("ann was asked %d times within %v", asked, delay)
		}
		s.ahead.Add(int64(5 * time.Second))
	}
	// Long after that all is forgotten.
	s.ahead.Add(int64(2 * time.Hour))
	refused(ask(bot, ann, "u"), "not today (code")
	refused(ask(bot, ann, "u"), "(ask again in 10s)")

	// Other things, other participants and ann's own requests are not held back.
	for _, other := range []struct {
		asker *room.Client
		url   string
	}{{bot, "v"}, {eve, "u"}, {ann, "u"}, {ann, "u"}} {
		before := asked.Load()
		if err := ask(other.asker, ann, other.url); strings.Contains(err.Error(), "ask again") || asked.Load() != before+1 {
			t.Errorf("another request: %v", err)
		}
	}
	// A client that cannot answer says nothing about ann.
	for range 2 {
		if err := ask(bot, ann, "w"); !strings.Contains(err.Error(), wire.NoHandler) || strings.Contains(err.Error(), "ask again") {
			t.Errorf("no handler: %v", err)
		}
	}
	// What is stored needs no question.
	mustSet(t, s.store, at("ann", "bot", localroom.RequestedID("u", "t")), "t", "u", "given since")
	if err := ask(bot, ann, "u"); err != nil {
		t.Errorf("stored since: %v", err)
	}
}

// Nor is an approver who said no to several requests asked something else right away,
// until a request is answered.
func TestVariationsOfARequest(t *testing.T) {
	s := serve(t)
	var asked atomic.Int32
	ann := s.dialSecrets("ann", func(ctx context.Context, c *room.Client, r room.SecretRequested) {
		asked.Add(1)
		var err error
		if r.Request.URL == "good" {
			err = c.Secrets().Provide(ctx, r.ID, secret.New([]byte("v")))
		} else {
			err = c.Secrets().Reject(ctx, r.ID, "no")
		}
		if err != nil && ctx.Err() == nil { // the asker may be done before
			t.Errorf("answer: %v", err)
		}
	})
	bot, eve := s.dialSecrets("bot", nil), s.dialSecrets("eve", nil)
	ask := func(asker *room.Client, url, want string, sent int32) {
		t.Helper()
		before := asked.Load()
		_, err := asker.Secrets().Request(t.Context(), room.SecretRequest{ParticipantID: ann.Session().ParticipantID, URL: url, Type: "t", Timeout: 10 * time.Second})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || asked.Load()-before != sent {
			t.Errorf("%q: %v after %d questions, want %q after %d", url, err, asked.Load()-before, want, sent)
		}
	}
	ask(bot, "u", "no (code", 1)
	ask(bot, "u/", "no (code", 1)
	ask(bot, "good", "", 1)
	for _, url := range []string{"u ", "U", "u?"} {
		ask(bot, url, "no (code", 1)
	}
	ask(bot, "u#", "no (ask again in 10s)", 0)
	ask(eve, "u#", "no (code", 1)
	s.ahead.Add(int64(10 * time.Second))
	ask(bot, "u#", "no (code", 1)
	ask(bot, "u##", "no (ask again in 20s)", 0)
	// What is stored needs no question.
	ask(bot, "good", "", 0)
	s.ahead.Add(int64(2 * time.Hour))
	for _, url := range []string{"1", "2", "3"} {
		ask(bot, url, "no (code", 1)
	}
}

// However many rejections a participant gets, those of others are remembered, and so is
// who rejected it.
func TestManyRejections(t *testing.T) {
	var p localroom.Rejections
	p.Reject("eve", "ann", "u")
	for range 3 {
		p.Reject("bot", "ann", "u")
	}
	for n := range 3 * localroom.MaxRejections {
		p.Reject("bot", "bob", strconv.Itoa(n))
	}
	if !p.Held("eve", "ann", "u") || p.Held("eve", "ann", "v") {
		t.Error("eve's rejection is forgotten")
	}
	if !p.Held("bot", "ann", "v") || !p.Held("bot", "bob", "v") {
		t.Error("ann is asked again")
	}
	for n := range 3 * localroom.MaxRejections {
		p.Reject("bot", "approver"+strconv.Itoa(n), "u")
	}
	if !p.Held("eve", "ann", "u") {
		t.Error("eve's rejection is forgotten after those of many approvers")
	}
	for n := range 3 * localroom.MaxRejections {
		p.Reject("requester"+strconv.Itoa(n), "ann", "u")
	}
	if n := p.Len(); n > localroom.MaxRejections {
		t.Errorf("%d approvers are remembered", n)
	}
}
