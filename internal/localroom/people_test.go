package localroom_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/roomenv/roomenv/room"
)

// unasked is a client without handlers.
func unasked(*room.Config) {}

func named(name string) func(room.Participant) bool {
	return func(p room.Participant) bool { return p.Name() == name }
}

// meet returns the participant called name that c sees.
func meet(t testing.TB, c *room.Client, name string) room.Participant {
	t.Helper()
	if err := c.Messaging().Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := c.Messaging().Find(t.Context(), named(name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Client and room agree on what becomes of a request.
func TestClientsAskEachOther(t *testing.T) {
	e := openRoom(t, t.TempDir())
	asked := make(chan room.SecretRequested, 1)
	ann := dialAs(t, e, "ann", func(c *room.Config) {
		c.OnSecretRequested = func(_ context.Context, _ *room.Client, r room.SecretRequested) { asked <- r }
	})
	if err := ann.Messaging().Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	bot := dialAs(t, e, "bot", unasked)
	request := room.SecretRequest{ParticipantID: meet(t, bot, "ann").ID, URL: "https://stripe.com", Type: "text/plain"}
	answers := make(chan error, 1)
	ask := func(timeout time.Duration, want string) {
		r := request
		r.Timeout = timeout
		go func() {
			v, err := bot.Secrets().Request(t.Context(), r)
			if err == nil && string(v.Reveal()) != want {
				err = errors.New("another value came")
			}
			answers <- err
		}()
	}

	ask(0, "")
	r := next(t, asked)
	if r.Request.URL != request.URL || r.Request.Type != request.Type || r.Request.Timeout != room.DefaultRequestTimeout ||
		r.RequesterID != bot.Session().ParticipantID || r.RequesterName != "bot" {
		t.Errorf("ann is asked %+v", r)
	}
	if err := ann.Secrets().Reject(t.Context(), r.ID, "not today"); err != nil {
		t.Error(err)
	}
	err := next(t, answers)
	if answer, _ := errors.AsType[*room.Error](err); !errors.Is(err, room.ErrOperationFailed) || answer.Text != "not today" {
		t.Errorf("after ann rejected: %v", err)
	}

	request.Type = "application/octet-stream" // the room does not ask her the same again
	ask(time.Second, "")
	r = next(t, asked)
	if err := next(t, answers); !errors.Is(err, room.ErrTimeout) {
		t.Errorf("after a second: %v", err)
	}
	if err := ann.Secrets().Provide(t.Context(), r.ID, value("late")); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("an answer after the timeout: %v", err)
	}

	// Whoever is ann may answer, bot may not.
	ask(0, "sk-1")
	r = next(t, asked)
	if err := bot.Secrets().Provide(t.Context(), r.ID, value("sk-0")); !errors.Is(err, room.ErrPermissionDenied) {
		t.Errorf("an answer of bot: %v", err)
	}
	_ = ann.Close()
	again := dialAs(t, e, "ann", unasked)
	if err := again.Secrets().Provide(t.Context(), r.ID, value("sk-1")); err != nil {
		t.Error(err)
	}
	if err := next(t, answers); err != nil {
		t.Error(err)
	}

	// What was provided is there while ann is not, under her name.
	_ = again.Close()
	if v, err := bot.Secrets().Request(t.Context(), request); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("the participant has gone: %q, %v", v.Reveal(), err)
	}
	request.ParticipantID = "ann"
	if v, err := bot.Secrets().Request(t.Context(), request); err != nil || string(v.Reveal()) != "sk-1" {
		t.Errorf("by name: %q, %v", v.Reveal(), err)
	}
	if _, err := dialAs(t, e, "eve", unasked).Secrets().Request(t.Context(), request); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("by name, for another: %v", err)
	}
	if err := bot.Secrets().DeleteRequested(t.Context(), request.URL, request.Type, ""); err != nil {
		t.Error(err)
	}
	if _, err := bot.Secrets().Request(t.Context(), request); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("by name, after it was deleted: %v", err)
	}
}

// Both ends of a request may be one connection.
func TestClientAsksItself(t *testing.T) {
	e := openRoom(t, t.TempDir())
	for name, more := range map[string]func(*room.Config){
		"answers": func(c *room.Config) {
			c.OnSecretRequested = func(ctx context.Context, c *room.Client, r room.SecretRequested) {
				if err := c.Secrets().Provide(ctx, r.ID, value("v")); err != nil {
					t.Error(err)
				}
			}
		},
		"has no handler": unasked,
	} {
		t.Run(name, func(t *testing.T) {
			c := dialAs(t, e, name, more)
			_, err := c.Secrets().Request(t.Context(), room.SecretRequest{ParticipantID: c.Session().ParticipantID, URL: "u", Type: "t"})
			answer, _ := errors.AsType[*room.Error](err)
			if name == "answers" && err != nil || name != "answers" && (answer == nil || answer.Text != room.NoHandler) {
				t.Error(err)
			}
		})
	}
}

// Presence, as the room sends it; when the room changes hands
// all find each other again, under other ids.
func TestPresenceOutlivesTheHolder(t *testing.T) {
	dir := t.TempDir()
	holder, others := openRoom(t, dir), openRoom(t, dir)
	if err := holder.Acquire(); err != nil {
		t.Fatal(err)
	}
	ann := dialAs(t, others, "ann", unasked)
	bot := dialAs(t, others, "bot", unasked)
	if err := ann.Messaging().Enable(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := meet(t, bot, "ann")
	if before.ID != ann.Session().ParticipantID || before.Role == "" {
		t.Errorf("bot sees %+v", before)
	}
	meet(t, ann, "bot")
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := bot.Messaging().Find(t.Context(), func(p room.Participant) bool { return p.Name() == "ann" && p.ID != before.ID })
	if err != nil {
		t.Fatal(err)
	}
	if after.ID != ann.Session().ParticipantID {
		t.Errorf("bot sees %s, ann is %s", after.ID, ann.Session().ParticipantID)
	}

	if err := ann.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bot.Messaging().Await(t.Context(), func(here []room.Participant) bool { return len(here) == 0 }); err != nil {
		t.Errorf("ann left and bot sees %v: %v", bot.Messaging().Participants(), err)
	}
}
