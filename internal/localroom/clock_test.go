package localroom_test

import (
	"context"
	"testing"
	"time"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A clock that jumps forward lets tokens expire, and one that jumps back lets
// them live; both leave what is pending as it is, and nothing is lost.
func TestClockJumps(t *testing.T) {
	s, p := serve(t), newProvider(t)
	jump := func(d time.Duration) { s.ahead.Store(int64(d)) }
	token := func(want string) {
		t.Helper()
		bot := s.dial("bot", scoped(), nil)
		defer bot.Close()
		if got, err := offline(t.Context(), bot, p.client(), "ann"); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	ann, bot := s.dial("ann", scoped(), provides("good")), s.dial("bot", scoped(), nil)
	if _, err := ask(t.Context(), bot, ann, p.client()); err != nil {
		t.Fatal(err)
	}
	token("access-1")
	jump(-30 * 24 * time.Hour)
	token("access-1")
	jump(2 * time.Minute)
	token("access-1")

	// The token is over, and so is that of who would join with an old one.
	jump(2 * time.Hour)
	if got, err := offline(t.Context(), bot, p.client(), "ann"); got != "access-2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := connect(t.Context(), nil, s.URL+"/rooms/demo", s.token("bot", scoped())); err == nil {
		t.Error("joined with a token that has expired")
	}

	// Back again, the new token is as good as any.
	jump(0)
	token("access-2")
	if sent := len(p.sent()); sent != 2 {
		t.Errorf("%d calls of the provider", sent)
	}

	// Somebody is asked while the clock jumps.
	asked := make(chan string, 1)
	bea, err := room.Dial(t.Context(), room.Config{
		URL:               s.URL + "/rooms/demo",
		Token:             func(context.Context) (secret.Value, error) { return s.token("bea", scoped()), nil },
		OnSecretRequested: func(_ context.Context, _ *room.Client, r room.SecretRequested) { asked <- r.ID },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer bea.Close()
	answer := make(chan error, 1)
	go func() {
		_, err := bot.Secrets().Request(t.Context(), room.SecretRequest{ParticipantID: bea.Session().ParticipantID, URL: "u", Type: "t"})
		answer <- err
	}()
	id := next(t, asked)
	jump(30 * 24 * time.Hour)
	jump(-30 * 24 * time.Hour)
	if err := bea.Secrets().Provide(t.Context(), id, value("v")); err != nil {
		t.Error(err)
	}
	if err := next(t, answer); err != nil {
		t.Error(err)
	}
}
