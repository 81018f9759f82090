package localroom_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
)

const quotaExceeded = "quota exceeded: this identity may store"

// grantsLarge makes p grant access tokens of size bytes.
func (p *provider) grantsLarge(size int) {
	p.set(func() {
		p.fault = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"r","expires_in":3600,"token_type":"Bearer"}`, strings.Repeat("x", size))
		}
	})
}

// An identity that asks itself, with a provider of its own, stores no more than its
// quota.
func TestQuotaOfOAuthCredentials(t *testing.T) {
	s, p := serve(t), newProvider(t)
	localroom.SetQuota(s.local, 64<<10)
	mallory := s.dial("mallory", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		_ = c.Secrets().ProvideAuthorization(ctx, r.ID, value("good")) // the requester gets the error as well
		return nil
	})
	request := func(id string) error {
		o := p.client()
		o.ClientID = id
		_, err := ask(t.Context(), mallory, mallory, o)
		return err
	}
	p.grantsLarge(40 << 10)
	if err := request("first"); err != nil {
		t.Fatal(err)
	}
	if err := request("second"); err == nil || !strings.Contains(err.Error(), quotaExceeded) {
		t.Errorf("a token beyond the quota: %v", err)
	}
	s.credential("mallory")

	// Without space for any token, no code is sent.
	if err := mallory.Secrets().Set(t.Context(), room.NewSecret{ID: "rest", Value: value(strings.Repeat("x", 21<<10))}); err != nil {
		t.Fatal(err)
	}
	sent := len(p.sent())
	if err := request("third"); err == nil || !strings.Contains(err.Error(), quotaExceeded) || len(p.sent()) != sent {
		t.Errorf("with a quota that is used up: %v, and %d calls of the provider", err, len(p.sent())-sent)
	}

	// A refresh replaces the refresh token, which must be stored.
	p.grantsLarge(41 << 10)
	s.expire("mallory")
	o := p.client()
	o.ClientID = "first"
	if got, err := offline(t.Context(), mallory, o, ""); len(got) != 41<<10 || err != nil {
		t.Errorf("refreshed: %d bytes, %v", len(got), err)
	}
}

// The room keeps some clients that it registered for an identity. The oldest gives way.
func TestRegistrationsOfAnIdentity(t *testing.T) {
	s, p := serve(t), newProvider(t)
	localroom.SetQuota(s.local, 1<<20)
	ann := s.dial("ann", scoped(), provides("good"))
	register := func(c *room.Client, path string) {
		t.Helper()
		if _, err := requestOf(t.Context(), c, ann, room.OAuthRequest{
			Connector: &room.Connector{ServerURL: p.URL}, RedirectURI: "http://127.0.0.1:1/" + path,
		}); err != nil {
			t.Fatal(err)
		}
	}
	bot, mallory := s.dial("bot", scoped(), nil), s.dial("mallory", scoped(), nil)
	register(bot, "bot")
	for i := range localroom.MaxRegistrations + 2 {
		register(mallory, fmt.Sprint(i))
	}
	list, err := s.store.List("demo", "")
	if err != nil || len(list) != 1+localroom.MaxRegistrations {
		t.Errorf("the room keeps %d clients, %v", len(list), err)
	}
	registered := p.clients
	register(bot, "bot")
	register(mallory, fmt.Sprint(localroom.MaxRegistrations+1))
	if p.clients != registered {
		t.Error("a client was registered again")
	}
}

func TestLargeRegistration(t *testing.T) {
	s, p := serve(t), newProvider(t)
	p.set(func() { p.clientID = strings.Repeat("x", 17<<10) })
	bot, ann := s.dial("bot", scoped(), nil), s.dial("ann", scoped(), asksNobody(t))
	_, err := requestOf(t.Context(), bot, ann, room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}})
	if err == nil || !strings.Contains(err.Error(), "OAuth client: larger than 16 KiB") {
		t.Errorf("got %v", err)
	}
	if list, err := s.store.List("demo", ""); err != nil || len(list) != 0 {
		t.Errorf("the room keeps %v, %v", list, err)
	}
}
