package localroom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
)

// requestOf has asker make r of asked.
func requestOf(ctx context.Context, asker, asked *room.Client, r room.OAuthRequest) (string, error) {
	r.ParticipantID, r.Timeout = asked.Session().ParticipantID, 10*time.Second
	if r.RedirectURI == "" {
		r.RedirectURI = "http://127.0.0.1:1/cb"
	}
	v, err := asker.Secrets().RequestOAuthToken(ctx, r)
	return string(v.Reveal()), err
}

// A server's address is all that is needed.
func TestConnectorByDiscovery(t *testing.T) {
	s, p := serve(t), newProvider(t)
	var asked room.OAuthRequested
	ann := s.dial("ann", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		asked = r
		return provides("good")(ctx, c, r)
	})
	bot := s.dial("bot", scoped(), nil)
	connector := &room.Connector{ServerURL: p.URL + "/mcp"}
	r := room.OAuthRequest{Connector: connector, OAuth: &room.OAuth{Scopes: []string{"read"}, ClientSecret: value("of some other client")}}
	if got, err := requestOf(t.Context(), bot, ann, r); got != "access-1" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if o := asked.Request.OAuth; o.ClientID != "registered-1" || o.AuthorizationEndpoint != p.URL+"/auth" || o.TokenEndpoint != p.URL+"/token" ||
		asked.Challenge == "" || fmt.Sprint(o.Scopes) != "[read]" {
		t.Errorf("ann was asked %+v of %+v", asked, o)
	}
	if form := p.sent()[0]; form.Has("client_secret") {
		t.Errorf("the provider was sent %v", form)
	}
	// From now on nothing is found out again.
	q := room.OfflineOAuthQuery{Connector: connector, DelegatedBy: "ann"}
	if v, err := bot.Secrets().OfflineOAuthToken(t.Context(), q); err != nil || string(v.Reveal()) != "access-1" {
		t.Errorf("offline: %q, %v", v.Reveal(), err)
	}
	s.expire("ann")
	if v, err := bot.Secrets().OfflineOAuthToken(t.Context(), q); err != nil || string(v.Reveal()) != "access-2" {
		t.Errorf("refreshed: %q, %v", v.Reveal(), err)
	}
	if got, err := requestOf(t.Context(), bot, ann, r); got != "access-2" || err != nil {
		t.Errorf("again: %q, %v", got, err)
	}
	if fmt.Sprint(p.metadata) != "[/.well-known/oauth-authorization-server/mcp]" || p.clients != 1 {
		t.Errorf("asked for %s, registered %d clients", p.metadata, p.clients)
	}
	// Another page that takes the redirect is another client.
	r.RedirectURI = "https://app.example/cb"
	if got, err := requestOf(t.Context(), bot, ann, r); got != "access-3" || err != nil || asked.Request.OAuth.ClientID != "registered-2" {
		t.Errorf("elsewhere: %q, %v, as %s", got, err, asked.Request.OAuth.ClientID)
	}
	// A client that is named is not registered.
	r.OAuth = &room.OAuth{ClientID: "mine"}
	if got, err := requestOf(t.Context(), bot, ann, r); got != "access-4" || err != nil || asked.Request.OAuth.ClientID != "mine" || p.clients != 2 {
		t.Errorf("with a client id: %q, %v, as %s", got, err, asked.Request.OAuth.ClientID)
	}
	// Nobody sees what the room keeps for itself.
	for _, c := range []*room.Client{ann, bot} {
		list, err := c.Secrets().List(t.Context())
		for _, i := range list {
			if i.Type != credentialType {
				t.Errorf("%s lists %+v", c.Session().ParticipantID, i)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestOneRegistrationForManyCallers(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann := s.dial("ann", scoped(), provides("good"))
	var working sync.WaitGroup
	for i := range 10 {
		bot := s.dial(fmt.Sprint("bot-", i), scoped(), nil)
		working.Go(func() {
			if _, err := requestOf(t.Context(), bot, ann, room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}}); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	if p.clients != 1 || len(p.metadata) != 1 {
		t.Errorf("%d clients were registered after %d discoveries", p.clients, len(p.metadata))
	}
}

// A provider that lost its registrations gets a new one.
func TestRegistrationIsForgotten(t *testing.T) {
	s, p := serve(t), newProvider(t)
	answered := make(chan struct{}, 2)
	ann := s.dial("ann", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		_ = provides("good")(ctx, c, r)
		answered <- struct{}{}
		return nil
	})
	bot := s.dial("bot", scoped(), nil)
	r := room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}}
	p.set(func() {
		p.fault = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(401)
			io.WriteString(w, `{"error":"invalid_client"}`)
		}
	})
	if _, err := requestOf(t.Context(), bot, ann, r); !errors.Is(err, room.ErrOperationFailed) {
		t.Errorf("unknown client: %v", err)
	}
	<-answered
	p.set(func() { p.fault = nil })
	if got, err := requestOf(t.Context(), bot, ann, r); got != "access-1" || err != nil || p.clients != 2 {
		t.Errorf("got %q, %v, registered %d clients", got, err, p.clients)
	}
}

func TestConnectorClientSecret(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann, bot := s.dial("ann", scoped(), provides("good")), s.dial("bot", scoped(), nil)
	ctx := t.Context()
	r := room.OAuthRequest{Connector: &room.Connector{ClientSecretID: "client-secret"}, OAuth: p.client()}

	// A secret of the person who is asked is not the caller's to send.
	if err := ann.Secrets().Set(ctx, room.NewSecret{ID: "client-secret", Value: value("of ann")}); err != nil {
		t.Fatal(err)
	}
	if _, err := requestOf(ctx, bot, ann, r); !errors.Is(err, room.ErrDependencyMissing) {
		t.Errorf("with ann's secret: %v", err)
	}
	if sent := p.sent(); len(sent) != 0 {
		t.Fatalf("the provider was sent %v", sent)
	}
	if err := ann.Secrets().Set(ctx, room.NewSecret{ID: "client-secret", DelegatedTo: "bot", Value: value("lent by ann")}); err != nil {
		t.Fatal(err)
	}
	if _, err := requestOf(ctx, bot, ann, r); err != nil || p.sent()[0].Get("client_secret") != "lent by ann" {
		t.Errorf("with a lent secret: %v, the provider was sent %v", err, p.sent())
	}
	if err := bot.Secrets().Set(ctx, room.NewSecret{ID: "client-secret", Value: value("of bot")}); err != nil {
		t.Fatal(err)
	}
	r.OAuth.Scopes = []string{"more"}
	if _, err := requestOf(ctx, bot, ann, r); err != nil || p.sent()[1].Get("client_secret") != "of bot" {
		t.Errorf("with bot's secret: %v, the provider was sent %v", err, p.sent())
	}

	// One that has changed since counts, and is kept with what it refreshed.
	q := room.OfflineOAuthQuery{Connector: r.Connector, OAuth: r.OAuth, DelegatedBy: "ann"}
	if err := bot.Secrets().Set(ctx, room.NewSecret{ID: "client-secret", Value: value("rotated")}); err != nil {
		t.Fatal(err)
	}
	for i, removed := range []string{"", "bot", "ann"} {
		var err error
		switch removed {
		case "bot":
			err = bot.Secrets().Delete(ctx, "client-secret", "")
		case "ann":
			err = ann.Secrets().Delete(ctx, "client-secret", "bot")
		}
		if err != nil {
			t.Fatal(err)
		}
		s.expire("ann")
		want := []string{"rotated", "lent by ann", "lent by ann"}[i]
		if _, err := bot.Secrets().OfflineOAuthToken(ctx, q); err != nil || p.sent()[2+i].Get("client_secret") != want {
			t.Errorf("refreshed: %v, the provider was sent %v", err, p.sent()[2+i:])
		}
	}
}

// What is a credential is no client's secret: a caller could have it sent to an
// endpoint of its own.
func TestCredentialIsNoClientSecret(t *testing.T) {
	s, p, evil := serve(t), newProvider(t), newProvider(t)
	bot, ann := authorized(t, s, p)
	_, err := requestOf(t.Context(), bot, ann, room.OAuthRequest{
		Connector: &room.Connector{ClientSecretID: s.credential("ann").ID}, OAuth: evil.client(),
	})
	if sent := evil.sent(); !errors.Is(err, room.ErrDependencyMissing) || len(sent) != 0 {
		t.Errorf("error %v, the provider was sent %v", err, sent)
	}
}

func TestConnectorErrors(t *testing.T) {
	s, p := serve(t), newProvider(t)
	nothing := newProvider(t)
	nothing.Config.Handler = http.NotFoundHandler()
	ann := s.dial("ann", scoped(), asksNobody(t))
	bot := s.dial("bot", scoped(), nil)
	listed := s.dial("bot", &token.Scope{Secrets: &token.SecretsScope{RequestOAuthToken: []token.OAuthClient{{Endpoint: p.URL + "*", ClientID: "client"}}}}, nil)
	for name, c := range map[string]struct {
		caller *room.Client
		r      room.OAuthRequest
		want   error
		text   string
	}{
		"nothing":              {bot, room.OAuthRequest{}, room.ErrInvalidRequest, "server_url"},
		"half a client":        {bot, room.OAuthRequest{OAuth: &room.OAuth{ClientID: "client"}}, room.ErrInvalidRequest, "token_endpoint"},
		"an OpenAI connector":  {bot, room.OAuthRequest{Connector: &room.Connector{OpenAIConnectorID: "connector_gmail"}}, room.ErrDependencyMissing, "openai_connector_id"},
		"no OAuth there":       {bot, room.OAuthRequest{Connector: &room.Connector{ServerURL: nothing.URL}}, room.ErrDependencyMissing, "no OAuth metadata of this issuer found"},
		"nobody there":         {bot, room.OAuthRequest{Connector: &room.Connector{ServerURL: "http://127.0.0.1:1"}}, room.ErrDependencyMissing, "is unreachable"},
		"in the clear":         {bot, room.OAuthRequest{Connector: &room.Connector{ServerURL: "http://example.com"}}, room.ErrDependencyMissing, "https"},
		"a script":             {bot, room.OAuthRequest{OAuth: &room.OAuth{ClientID: "c", AuthorizationEndpoint: "javascript:alert(1)", TokenEndpoint: p.URL}}, room.ErrInvalidRequest, "authorization_endpoint"},
		"tokens in the clear":  {bot, room.OAuthRequest{OAuth: &room.OAuth{ClientID: "c", AuthorizationEndpoint: p.URL, TokenEndpoint: "http://example.com"}}, room.ErrInvalidRequest, "token_endpoint"},
		"scopes in the query":  {bot, room.OAuthRequest{OAuth: &room.OAuth{ClientID: "c", AuthorizationEndpoint: p.URL + "?scope=repo", TokenEndpoint: p.URL}}, room.ErrInvalidRequest, `authorization_endpoint: parameter "scope"`},
		"a hidden host":        {bot, room.OAuthRequest{OAuth: &room.OAuth{ClientID: "c", AuthorizationEndpoint: p.URL, TokenEndpoint: "https://github.com@evil.example"}}, room.ErrInvalidRequest, "token_endpoint"},
		"a long name":          {bot, room.OAuthRequest{OAuth: p.client(), Connector: &room.Connector{OpenAIConnectorID: strings.Repeat("x", 1025)}}, room.ErrInvalidRequest, "1024"},
		"not on the list":      {listed, room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}}, room.ErrPermissionDenied, "request_oauth_token"},
		"not on the list, yet": {listed, room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}, OAuth: &room.OAuth{ClientID: "other"}}, room.ErrPermissionDenied, "request_oauth_token"},
	} {
		_, err := requestOf(t.Context(), c.caller, ann, c.r)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the list does not permit is not looked for.
	if len(p.metadata) != 0 || p.clients != 0 {
		t.Errorf("asked for %s, registered %d clients", p.metadata, p.clients)
	}
	// After resolution the list fits.
	ann = s.dial("ann", scoped(), provides("good"))
	r := room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}, OAuth: &room.OAuth{ClientID: "client"}}
	if got, err := requestOf(t.Context(), listed, ann, r); got != "access-1" || err != nil {
		t.Errorf("on the list: %q, %v", got, err)
	}
	q := room.OfflineOAuthQuery{Connector: r.Connector, OAuth: r.OAuth, DelegatedBy: "ann"}
	if v, err := listed.Secrets().OfflineOAuthToken(t.Context(), q); err != nil || string(v.Reveal()) != "access-1" {
		t.Errorf("offline: %q, %v", v.Reveal(), err)
	}
	if _, err := bot.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{ParticipantID: ann.Session().ParticipantID, OAuth: p.client()}); !errors.Is(err, room.ErrInvalidRequest) {
		t.Errorf("without redirect_uri: %v", err)
	}
	if _, err := bot.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{ParticipantID: "nobody", OAuth: p.client(), RedirectURI: "http://127.0.0.1:1/cb"}); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

// In a room on the network a participant learns nothing about the network of the room:
// every failure reads alike, and nothing private is called.
func TestPublicProviders(t *testing.T) {
	s, p := serve(t), newProvider(t)
	localroom.CallPublicProviders(s.local)
	ann := s.dial("ann", scoped(), asksNobody(t))
	bot := s.dial("bot", scoped(), nil)
	for name, c := range map[string]struct {
		r    room.OAuthRequest
		want error
		text string
	}{
		"a token endpoint on this machine": {room.OAuthRequest{OAuth: p.client()}, room.ErrInvalidRequest, "token_endpoint: " + p.Listener.Addr().String() + ": the room calls public addresses only"},
		"a server on this machine":         {room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}}, room.ErrDependencyMissing, "public addresses only"},
		"a name that is not known":         {room.OAuthRequest{Connector: &room.Connector{ServerURL: "https://none.invalid"}}, room.ErrDependencyMissing, "the provider sent no usable response"},
	} {
		_, err := requestOf(t.Context(), bot, ann, c.r)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.metadata) != 0 || len(p.sent()) != 0 {
		t.Errorf("the provider was asked for %s and sent %v", p.metadata, p.sent())
	}
}

// Who answers learns which issuer the response of the provider has to be of.
func TestIssuerOfDiscoveredClient(t *testing.T) {
	s, p := serve(t), newProvider(t)
	p.issuer = p.URL
	var asked room.OAuthRequested
	ann := s.dial("ann", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		asked = r
		return provides("good")(ctx, c, r)
	})
	bot := s.dial("bot", scoped(), nil)
	for range 2 { // the second time it comes from the store
		r := room.OAuthRequest{Connector: &room.Connector{ServerURL: p.URL}}
		if _, err := requestOf(t.Context(), bot, ann, r); err != nil || asked.Issuer != p.URL || !asked.IssuerRequired {
			t.Errorf("the issuer is %q, required %t, error %v", asked.Issuer, asked.IssuerRequired, err)
		}
		if err := ann.Secrets().Delete(t.Context(), s.credential("ann").ID, "bot"); err != nil {
			t.Fatal(err)
		}
		asked = room.OAuthRequested{}
	}
}
