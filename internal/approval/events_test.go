package approval_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/roomtest"
	"github.com/roomenv/roomenv/secret"
)

// Requests come from a room and answers go to it.
func TestRoom(t *testing.T) {
	rooms := roomtest.New(t)
	var inbox approval.Inbox
	defer inbox.Close()
	alice := rooms.Dial("demo", "alice", func(c *room.Config) {
		c.OnSecretRequested, c.OnOAuthRequested = inbox.OnSecretRequested, inbox.OnOAuthRequested
	})
	agent := rooms.Dial("demo", "agent")
	us := alice.Session().ParticipantID

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	arrived := inbox.Changed()
	provided := make(chan error, 1)
	go func() {
		<-arrived
		r := inbox.Requests()[0]
		if r.Kind != approval.Secret || r.From != "agent" || r.StoredFor != "agent" || r.URL != "https://stripe.com" || r.Type != "text/plain" {
			t.Errorf("it is %+v", r)
		}
		provided <- inbox.Provide(t.Context(), r.ID, secret.New([]byte("sk")))
	}()
	value, err := agent.Secrets().Request(ctx, room.SecretRequest{ParticipantID: us, URL: "https://stripe.com", Type: "text/plain"})
	if err := errors.Join(err, <-provided); err != nil || string(value.Reveal()) != "sk" {
		t.Errorf("the agent gets %s, %v", value.Reveal(), err)
	}

	arrived = inbox.Changed()
	go func() {
		<-arrived
		r := inbox.Requests()[1]
		if r.Kind != approval.OAuth || r.From != "agent" || r.StoredFor != "agent" || r.ClientID != "c" || r.Challenge == "" || r.Provider() != "idp.example" || !r.LoopbackRedirect() || len(r.Scopes) != 1 {
			t.Errorf("it is %+v", r)
		}
		provided <- inbox.Reject(t.Context(), r.ID, "no \x1b[2Jaccount")
	}()
	oauth := room.OAuthRequest{
		ParticipantID: us, RedirectURI: "http://127.0.0.1:8765/callback", DelegateTo: "agent",
		OAuth: &room.OAuth{ClientID: "c", AuthorizationEndpoint: "https://idp.example/authorize", TokenEndpoint: "https://idp.example/token", Scopes: []string{"repo"}},
	}
	_, err = agent.Secrets().RequestOAuthToken(ctx, oauth)
	if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), `no \x1b[2Jaccount`) || <-provided != nil {
		t.Errorf("the agent gets %v", err)
	}

	// What no person would read is refused at once, and not shown.
	oauth.OAuth.Scopes = slices.Repeat([]string{strings.Repeat("x", 500)}, 20)
	_, err = agent.Secrets().RequestOAuthToken(ctx, oauth)
	if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), approval.ErrTooLong.Error()) {
		t.Errorf("long scopes: %v", err)
	}
	if n := len(inbox.Requests()); n != 2 {
		t.Errorf("%d requests are shown", n)
	}

	// What is for another identity is said to be.
	inbox.OnSecretRequested(ctx, alice, room.SecretRequested{
		ID: "x", RequesterName: "agent", Request: room.SecretRequest{DelegateTo: "bot", Timeout: time.Minute},
	})
	if r, _ := inbox.Request("x"); r.From != "agent" || r.StoredFor != "bot" {
		t.Errorf("it is %+v", r)
	}
}
