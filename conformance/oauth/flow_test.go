package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const redirect = "http://127.0.0.1:9/callback"

// A provider is one that runs.
type provider struct {
	issuer string
	person browser
	public string // the id of a public client
	secret string // of the client "confidential"
}

// endpoint is what the provider tells about itself.
func (p provider) endpoint(t testing.TB, name string) string {
	t.Helper()
	resp, err := http.Get(p.issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	s, _ := m[name].(string)
	if s == "" {
		t.Fatalf("%s has no %s", p.issuer, name)
	}
	return s
}

func (p provider) client(t testing.TB, id string) *room.OAuth {
	t.Helper()
	return &room.OAuth{
		ClientID:              id,
		AuthorizationEndpoint: p.endpoint(t, "authorization_endpoint"),
		TokenEndpoint:         p.endpoint(t, "token_endpoint"),
		Scopes:                []string{"openid", "profile", "offline_access"},
	}
}

// accepts reports whether the provider takes an access token.
func (p provider) accepts(t testing.TB, token secret.Value) bool {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.endpoint(t, "userinfo_endpoint"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+string(token.Reveal()))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// signsIn answers what ann is asked as a person does. An error of the provider
// is what she rejects with.
func (p provider) signsIn(t testing.TB, mend func(url.Values)) answer {
	return func(ctx context.Context, c *room.Client, e room.OAuthRequested) {
		q := p.person.open(t, authorizationURL(e, mend), redirect)
		var err error
		switch code := q.Get("code"); {
		case q.Get("state") != e.ID:
			t.Errorf("the redirect brings the state %q", q.Get("state"))
		case code == "":
			err = c.Secrets().RejectAuthorization(ctx, e.ID, q.Get("error"))
		default:
			err = c.Secrets().ProvideAuthorization(ctx, e.ID, secret.New([]byte(code)))
		}
		// The asker's answer may come first and end the test; what it gets says
		// what went wrong.
		if err != nil && ctx.Err() == nil && !errors.Is(err, room.ErrOperationFailed) {
			t.Error(err)
		}
	}
}

func request(t testing.TB, bot, ann *room.Client, o *room.OAuth, connector *room.Connector) (secret.Value, error) {
	t.Helper()
	return bot.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{
		ParticipantID: ann.Session().ParticipantID, OAuth: o, Connector: connector, RedirectURI: redirect, Timeout: time.Minute,
	})
}

func offline(t testing.TB, bot *room.Client, o *room.OAuth, connector *room.Connector) (secret.Value, error) {
	t.Helper()
	return bot.Secrets().OfflineOAuthToken(t.Context(), room.OfflineOAuthQuery{OAuth: o, Connector: connector, DelegatedBy: "ann"})
}

// authorized is a room where ann has authorized o for bot.
func (p provider) authorized(t *testing.T, o *room.OAuth, connector *room.Connector) (*testRoom, *room.Client, secret.Value) {
	t.Helper()
	r := newRoom(t)
	bot := r.join("bot", nil)
	first, err := request(t, bot, r.join("ann", p.signsIn(t, nil)), o, connector)
	if err != nil {
		t.Fatal(err)
	}
	if !p.accepts(t, first) {
		t.Fatal("the provider refuses the access token")
	}
	return r, bot, first
}

// lifeOfCredential is what every provider has to pass.
func (p provider) lifeOfCredential(t *testing.T, o *room.OAuth, connector *room.Connector) {
	r, bot, first := p.authorized(t, o, connector)
	if again, err := offline(t, bot, o, connector); err != nil || !again.Equal(first) {
		t.Errorf("offline: another token, %v", err)
	}

	// Refreshes follow one another, also over restarts.
	refreshToken := r.credential(nil)["refresh_token"]
	for i := range 3 {
		r.expire()
		if i == 1 {
			r.restart()
			bot = r.join("bot", nil)
		}
		next, err := offline(t, bot, o, connector)
		if err != nil || next.Equal(first) || !p.accepts(t, next) {
			t.Fatalf("refresh %d: the same token or one that is refused, %v", i, err)
		}
		rotated := r.credential(nil)["refresh_token"]
		if rotated == refreshToken || rotated == nil {
			t.Errorf("refresh %d: the refresh token is not replaced", i)
		}
		first, refreshToken = next, rotated
	}

	// Many callers, on connections of their own, are one refresh: a second
	// use of the refresh token would be refused.
	r.expire()
	var working sync.WaitGroup
	tokens := make(chan string, 50)
	for range 50 {
		c := r.join("bot", nil)
		working.Go(func() {
			v, err := offline(t, c, o, connector)
			if err != nil {
				t.Error(err)
			}
			tokens <- string(v.Reveal())
		})
	}
	working.Wait()
	close(tokens)
	got := map[string]bool{}
	for token := range tokens {
		got[token] = true
	}
	if len(got) != 1 {
		t.Errorf("50 callers got %d tokens", len(got))
	}
	r.expire()
	if next, err := offline(t, bot, o, connector); err != nil || !p.accepts(t, next) {
		t.Errorf("afterwards: %v", err)
	}
}

// revoke makes the provider forget ann's refresh token.
func (p provider) revoke(t *testing.T, r *testRoom, clientID string) {
	t.Helper()
	refreshToken, _ := r.credential(nil)["refresh_token"].(string)
	resp, err := http.PostForm(p.endpoint(t, "revocation_endpoint"), url.Values{
		"token": {refreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {clientID},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revocation: %s", resp.Status)
	}
}

func (p provider) conforms(t *testing.T) {
	t.Run("public client with PKCE", func(t *testing.T) {
		p.lifeOfCredential(t, p.client(t, p.public), nil)
	})
	t.Run("confidential client", func(t *testing.T) {
		o := p.client(t, "confidential")
		o.ClientSecret = secret.New([]byte(p.secret))
		p.lifeOfCredential(t, o, nil)
	})
	t.Run("wrong client secret", func(t *testing.T) {
		o := p.client(t, "confidential")
		o.ClientSecret = secret.New([]byte("wrong"))
		r := newRoom(t)
		if _, err := request(t, r.join("bot", nil), r.join("ann", p.signsIn(t, nil)), o, nil); !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("discovery", func(t *testing.T) {
		o := &room.OAuth{ClientID: p.public, Scopes: []string{"openid", "offline_access"}}
		p.lifeOfCredential(t, o, &room.Connector{ServerURL: p.issuer + "/mcp"})
	})
	t.Run("revoked refresh token", func(t *testing.T) {
		o := p.client(t, p.public)
		r, bot, first := p.authorized(t, o, nil)
		p.revoke(t, r, p.public)
		r.expire()
		if _, err := offline(t, bot, o, nil); !errors.Is(err, room.ErrNotFound) {
			t.Errorf("offline: %v", err)
		}
		if list, err := r.store.List("demo", "ann"); err != nil || len(list) != 0 {
			t.Errorf("still stored: %v, %v", list, err)
		}
		if next, err := request(t, bot, r.join("ann", p.signsIn(t, nil)), o, nil); err != nil || next.Equal(first) {
			t.Errorf("asked again: %v", err)
		}
	})
	for name, c := range map[string]answer{
		"a code of another challenge": p.signsIn(t, func(q url.Values) {
			q.Set("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
		}),
		"a code that is none": func(ctx context.Context, c *room.Client, e room.OAuthRequested) {
			_ = c.Secrets().ProvideAuthorization(ctx, e.ID, secret.New([]byte("nonsense")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			_, err := request(t, r.join("bot", nil), r.join("ann", c), p.client(t, p.public), nil)
			if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), "invalid_grant") {
				t.Errorf("error %v", err)
			}
		})
	}
}
