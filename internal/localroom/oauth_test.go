package localroom_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const credentialType = "application/vnd.meshagent.oauth+json"

// A provider grants tokens, replaces refresh tokens, and fails as it is told.
type provider struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	fault    http.HandlerFunc // answers in place of the provider when set
	lifetime int              // of access tokens, in seconds
	refresh  string           // the only one that is taken
	grants   int
	forms    []url.Values // that the token endpoint was sent
	metadata []string     // paths that were asked for
	clients  int          // registered
	clientID string       // that clients get, before their number
	issuer   string       // in the metadata, with RFC 9207, unless ""
}

func newProvider(t testing.TB) *provider {
	p := &provider{t: t, lifetime: 3600}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := func(status int, object any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(object)
	}
	refuse := func(code string) {
		answer(400, map[string]string{"error": code, "error_description": "canary-page"})
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/.well-known/"):
		p.metadata = append(p.metadata, r.URL.Path)
		answer(200, map[string]any{
			"issuer": p.issuer, "authorization_response_iss_parameter_supported": p.issuer != "",
			"authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token",
			"registration_endpoint": p.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
		})
		return
	case r.URL.Path == "/register":
		p.clients++
		answer(201, map[string]any{"client_id": fmt.Sprint(cmp.Or(p.clientID, "registered-"), p.clients)})
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		p.t.Error(err)
	}
	p.forms = append(p.forms, form)
	if p.fault != nil {
		p.fault(w, r)
		return
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		if form.Get("code") != "good" {
			refuse("invalid_grant")
			return
		}
	case "refresh_token":
		if form.Get("refresh_token") != p.refresh {
			refuse("invalid_grant")
			return
		}
	}
	p.grants++
	p.refresh = fmt.Sprint("refresh-", p.grants)
	answer(200, map[string]any{
		"access_token": fmt.Sprint("access-", p.grants), "refresh_token": p.refresh,
		"expires_in": p.lifetime, "token_type": "Bearer", "scope": "something else",
	})
}

// set changes the provider while it serves.
func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) sent() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.forms)
}

func (p *provider) client(scopes ...string) *room.OAuth {
	return &room.OAuth{ClientID: "client", AuthorizationEndpoint: p.URL + "/auth", TokenEndpoint: p.URL + "/token", Scopes: scopes}
}

// A person answers what they are asked.
type person func(ctx context.Context, c *room.Client, r room.OAuthRequested) error

func provides(code string) person {
	return func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		return c.Secrets().ProvideAuthorization(ctx, r.ID, value(code))
	}
}

func asksNobody(t testing.TB) person {
	return func(context.Context, *room.Client, room.OAuthRequested) error {
		t.Error("somebody was asked")
		return nil
	}
}

// dial enters the room with our client; p answers what is asked of name.
func (s *testServer) dial(name string, scope *token.Scope, p person) *room.Client {
	s.t.Helper()
	c, err := room.Dial(s.t.Context(), room.Config{
		URL:   s.URL + "/rooms/demo",
		Token: func(context.Context) (secret.Value, error) { return s.token(name, scope), nil },
		OnOAuthRequested: func(ctx context.Context, c *room.Client, r room.OAuthRequested) {
			if err := p(ctx, c, r); err != nil && ctx.Err() == nil { // a test may end first
				s.t.Errorf("%s cannot answer: %v", name, err)
			}
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func ask(ctx context.Context, asker, asked *room.Client, o *room.OAuth) (string, error) {
	v, err := asker.Secrets().RequestOAuthToken(ctx, room.OAuthRequest{
		ParticipantID: asked.Session().ParticipantID, OAuth: o, RedirectURI: "http://127.0.0.1:1/cb", Timeout: 10 * time.Second,
	})
	return string(v.Reveal()), err
}

func offline(ctx context.Context, c *room.Client, o *room.OAuth, by string) (string, error) {
	v, err := c.Secrets().OfflineOAuthToken(ctx, room.OfflineOAuthQuery{OAuth: o, DelegatedBy: by})
	return string(v.Reveal()), err
}

// credential is the only one of owner.
func (s *testServer) credential(owner string) localroom.Info {
	s.t.Helper()
	list, err := s.store.List("demo", owner)
	list = slices.DeleteFunc(list, func(i localroom.Info) bool { return i.Type != credentialType })
	if err != nil || len(list) != 1 {
		s.t.Fatalf("%s has %v, %v", owner, list, err)
	}
	return list[0]
}

// expire makes the only credential of owner one that has ended.
func (s *testServer) expire(owner string) {
	s.t.Helper()
	i := s.credential(owner)
	_, v, err := s.store.Get(i.RecordKey, "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(v.Reveal(), &c); err != nil {
		s.t.Fatal(err)
	}
	c["expiration"] = time.Now().Add(59 * time.Second).UTC().Format(time.RFC3339)
	if err := s.store.Set(i.RecordKey, "", "", secret.New(object(c))); err != nil {
		s.t.Fatal(err)
	}
}

// Ask, authorize, exchange, store; then never ask again.
func TestOAuthRequest(t *testing.T) {
	s, p := serve(t), newProvider(t)
	var asked room.OAuthRequested
	ann := s.dial("ann", scoped(), func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		asked = r
		return provides("good")(ctx, c, r)
	})
	bot := s.dial("bot", scoped(), asksNobody(t))
	o := p.client("read", "write")
	o.ClientSecret = value("client-secret")
	if got, err := ask(t.Context(), bot, ann, o); got != "access-1" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	form := p.sent()[0]
	if got := oauth2.S256ChallengeFromVerifier(form.Get("code_verifier")); got != asked.Challenge {
		t.Errorf("the challenge is %q, of the verifier %q", asked.Challenge, got)
	}
	form.Del("code_verifier")
	if want := (url.Values{
		"grant_type": {"authorization_code"}, "code": {"good"}, "redirect_uri": {"http://127.0.0.1:1/cb"},
		"client_id": {"client"}, "client_secret": {"client-secret"},
	}); form.Encode() != want.Encode() {
		t.Errorf("the provider got %s", form.Encode())
	}
	if asked.RequesterName != "bot" || asked.Request.OAuth.ClientSecret.Len() != 0 || !slices.Equal(asked.Request.OAuth.Scopes, o.Scopes) {
		t.Errorf("ann was asked %+v", asked)
	}

	for _, scopes := range [][]string{{"read", "write"}, {"write"}, nil} {
		if got, err := ask(t.Context(), bot, ann, p.client(scopes...)); got != "access-1" || err != nil {
			t.Errorf("again for %q: %q, %v", scopes, got, err)
		}
		if got, err := offline(t.Context(), bot, p.client(scopes...), "ann"); got != "access-1" || err != nil {
			t.Errorf("offline for %q: %q, %v", scopes, got, err)
		}
	}
	if got, err := ask(t.Context(), bot, ann, p.client("admin")); got != "access-2" || err != nil {
		t.Errorf("for another scope: %q, %v", got, err)
	}

	// The owner sees the credential, but not the secret of bot's client.
	list, err := ann.Secrets().List(t.Context())
	if err != nil || len(list) != 1 || list[0].Type != credentialType || list[0].DelegatedTo != "bot" || "http://"+list[0].Name != p.URL {
		t.Fatalf("ann lists %+v, %v", list, err)
	}
	got, err := ann.Secrets().Get(t.Context(), room.SecretQuery{ID: list[0].ID, DelegatedTo: "bot"})
	if err != nil || strings.Contains(string(got.Value.Reveal()), "client-secret") {
		t.Errorf("ann gets %s, %v", got.Value.Reveal(), err)
	}
	var c struct {
		AccessToken  string    `json:"access_token"`
		RefreshToken string    `json:"refresh_token"`
		Expiration   time.Time `json:"expiration"`
		Scopes       []string  `json:"scopes"`
	}
	if err := json.Unmarshal(got.Value.Reveal(), &c); err != nil || c.AccessToken != "access-2" || c.RefreshToken != "refresh-2" ||
		time.Until(c.Expiration) < 59*time.Minute || !slices.Equal(c.Scopes, []string{"admin"}) {
		t.Errorf("ann gets %s", got.Value.Reveal())
	}
	if _, err := bot.Secrets().Get(t.Context(), room.SecretQuery{ID: list[0].ID, DelegatedTo: "bot"}); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("bot gets the refresh token: %v", err)
	}
	if err := ann.Secrets().Delete(t.Context(), list[0].ID, "bot"); err != nil {
		t.Error(err)
	}
	if _, err := offline(t.Context(), bot, o, "ann"); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("after ann deleted it: %v", err)
	}
	for _, planted := range []string{"client-secret", "access-1", "refresh-1", "good"} {
		if strings.Contains(s.log.String(), planted) {
			t.Errorf("the log has %s", planted)
		}
	}
}

// The shape of the event on the wire is stricter than it looks (section 6.1).
func TestOAuthEvent(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann := s.connect("ann", scoped())
	for _, noPKCE := range []bool{false, true} {
		arguments := object(wire.RequestOAuthTokenArguments{
			Connector:   &wire.Connector{OpenAIConnectorID: "connector_gmail"},
			RedirectURI: "http://127.0.0.1:1/cb", ParticipantID: wire.Nullable(ann.id), DelegateTo: "bot",
			OAuth: &wire.OAuth{
				ClientID: "client", ClientSecret: wire.Secret{Value: value("s")}, NoPKCE: &noPKCE,
				AuthorizationEndpoint: wire.Nullable(p.URL + "/auth"), TokenEndpoint: wire.Nullable(p.URL + "/token"),
			},
		})
		payload, err := wire.PackInvoke(wire.Secrets, wire.RequestOAuthToken, wire.JSON{Object: arguments})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ann.send(t.Context(), wire.TypeInvokeTool, payload); err != nil {
			t.Fatal(err)
		}
		m, err := ann.receive(t.Context())
		if err != nil || m.Type != wire.TypeRequestOAuthToken {
			t.Fatal(m.Type, err)
		}
		header, _, err := wire.Unpack(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var e map[string]any
		if err := json.Unmarshal(header, &e); err != nil {
			t.Fatal(err)
		}
		challenge, present := e["challenge"]
		if _, hashed := challenge.(string); !present || hashed == noPKCE {
			t.Errorf("no_pkce %t: the challenge is %v, present %t", noPKCE, challenge, present)
		}
		delete(e, "challenge")
		delete(e, "request_id")
		want := fmt.Sprintf(`{"request":{"connector":{"client_secret_id":null,"openai_connector_id":"connector_gmail","server_url":null},"delegate_to":"bot",`+
			`"oauth":{"authorization_endpoint":"%[1]s/auth","client_id":"client","client_secret":null,"no_pkce":%[2]t,"scopes":null,"token_endpoint":"%[1]s/token"},`+
			`"participant_id":"%[3]s","redirect_uri":"http://127.0.0.1:1/cb","timeout":300},"requester":{"id":"%[3]s","name":"ann"}}`, p.URL, noPKCE, ann.id)
		if got := string(object(e)); got != want {
			t.Errorf("the event is\n%s, want\n%s", got, want)
		}
	}
}

func TestOAuthRejections(t *testing.T) {
	s, p := serve(t), newProvider(t)
	for name, c := range map[string]struct {
		answer   person
		fault    http.HandlerFunc
		want     error
		wantText string
	}{
		"rejected": {
			answer: func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
				return c.Secrets().RejectAuthorization(ctx, r.ID, "not today")
			},
			want: room.ErrOperationFailed, wantText: "not today",
		},
		"no answer": {
			answer: func(context.Context, *room.Client, room.OAuthRequested) error { return nil },
			want:   room.ErrTimeout,
		},
		"wrong code": {
			answer: bothFail("bad", "invalid_grant"),
			want:   room.ErrOperationFailed, wantText: "invalid_grant",
		},
		"a page with a token": {
			answer: bothFail("good", "status 502"),
			fault: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(502)
				io.WriteString(w, "<html>canary-page")
			},
			want: room.ErrOperationFailed, wantText: "status 502",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func() { p.fault = c.fault })
			answered := make(chan struct{})
			ann := s.dial("ann", scoped(), func(ctx context.Context, client *room.Client, r room.OAuthRequested) error {
				defer close(answered)
				return c.answer(ctx, client, r)
			})
			bot := s.dial("bot", scoped(), asksNobody(t))
			_, err := bot.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{
				ParticipantID: ann.Session().ParticipantID, OAuth: p.client(name), RedirectURI: "http://127.0.0.1:1/cb", Timeout: time.Second,
			})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.wantText) || strings.Contains(err.Error(), "canary-page") {
				t.Errorf("bot gets %v", err)
			}
			next(t, answered)
			if list, err := s.store.List("demo", "ann"); err != nil || len(list) != 0 {
				t.Errorf("stored %v, %v", list, err)
			}
		})
	}
	if strings.Contains(s.log.String(), "canary-page") {
		t.Error("the log has the provider's page")
	}
}

// bothFail provides code, and wants the error that the asker gets too.
func bothFail(code, want string) person {
	return func(ctx context.Context, c *room.Client, r room.OAuthRequested) error {
		err := c.Secrets().ProvideAuthorization(ctx, r.ID, value(code))
		if !errors.Is(err, room.ErrOperationFailed) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary-page") {
			return fmt.Errorf("provide: %w", err)
		}
		if err := c.Secrets().ProvideAuthorization(ctx, r.ID, value("good")); !errors.Is(err, room.ErrNotFound) {
			return fmt.Errorf("provide again: %w", err)
		}
		return nil
	}
}

func TestOAuthPermissions(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann := s.dial("ann", scoped(), provides("good"))
	if _, err := ask(t.Context(), s.dial("bot", scoped(), nil), ann, p.client()); err != nil {
		t.Fatal(err)
	}
	only := func(clients ...token.OAuthClient) *token.Scope {
		return &token.Scope{Secrets: &token.SecretsScope{RequestOAuthToken: clients}}
	}
	for name, c := range map[string]struct {
		scope   *token.Scope
		allowed bool
	}{
		"no list":         {scoped(), true},
		"denies all":      {&token.Scope{Secrets: &token.SecretsScope{RequestOAuthToken: []token.OAuthClient{}}}, false},
		"the client":      {only(token.OAuthClient{Endpoint: p.URL + "/auth", ClientID: "client"}), true},
		"by prefix":       {only(token.OAuthClient{Endpoint: p.URL + "*", ClientID: "client"}), true},
		"other client":    {only(token.OAuthClient{Endpoint: p.URL + "*", ClientID: "other"}), false},
		"other origin":    {only(token.OAuthClient{Endpoint: p.URL + "/auth", ClientID: "client", TokenEndpoint: "https://idp.example/*"}), false},
		"named token":     {only(token.OAuthClient{Endpoint: p.URL + "/auth", ClientID: "client", TokenEndpoint: p.URL + "/token"}), true},
		"other endpoint":  {only(token.OAuthClient{Endpoint: p.URL, ClientID: "client"}), false},
		"token_endpoint":  {only(token.OAuthClient{Endpoint: p.URL + "/token", ClientID: "client"}), false},
		"no secrets":      {&token.Scope{}, false},
		"no scope at all": {nil, false},
	} {
		bot := s.dial("bot", c.scope, nil)
		_, requested := ask(t.Context(), bot, ann, p.client())
		_, offline := offline(t.Context(), bot, p.client(), "ann")
		for _, err := range []error{requested, offline} {
			if c.allowed && err != nil || !c.allowed && !errors.Is(err, room.ErrPermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A token that permits a client does not permit to send its code elsewhere, nor to leave
// out what makes the code useless there.
func TestOAuthMixUp(t *testing.T) {
	s, p, evil := serve(t), newProvider(t), newProvider(t)
	ann := s.dial("ann", scoped(), asksNobody(t))
	bot := s.dial("bot", &token.Scope{Secrets: &token.SecretsScope{RequestOAuthToken: []token.OAuthClient{{Endpoint: p.URL + "/*", ClientID: "client"}}}}, nil)
	elsewhere, bare := p.client(), p.client()
	elsewhere.TokenEndpoint, bare.NoPKCE = evil.URL+"/token", true
	for _, client := range []*room.OAuth{elsewhere, bare} {
		if _, err := ask(t.Context(), bot, ann, client); !errors.Is(err, room.ErrPermissionDenied) {
			t.Errorf("%+v: %v", client, err)
		}
		if _, err := offline(t.Context(), bot, client, "ann"); !errors.Is(err, room.ErrPermissionDenied) {
			t.Errorf("offline, %+v: %v", client, err)
		}
	}
}

// Who answers is the identity that was asked, on any of its connections; also
// without a scope.
func TestOAuthAnswers(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ids := make(chan string, 1)
	ann := s.dial("ann", scoped(), func(_ context.Context, _ *room.Client, r room.OAuthRequested) error {
		ids <- r.ID
		return nil
	})
	bot, later := s.dial("bot", scoped(), nil), s.dial("ann", nil, nil)
	type outcome struct {
		token string
		err   error
	}
	answers := make(chan outcome, 1)
	go func() {
		got, err := ask(t.Context(), bot, ann, p.client())
		answers <- outcome{got, err}
	}()
	id := <-ids
	ann.Close() // the page was left to sign in
	for name, want := range map[string]error{"bot": room.ErrPermissionDenied, "root": room.ErrPermissionDenied} {
		if err := s.dial(name, admin(), nil).Secrets().ProvideAuthorization(t.Context(), id, value("good")); !errors.Is(err, want) {
			t.Errorf("%s answers: %v", name, err)
		}
	}
	if err := later.Secrets().Provide(t.Context(), id, value("good")); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("provided as a secret: %v", err)
	}
	if err := later.Secrets().ProvideAuthorization(t.Context(), id, secret.Value{}); !errors.Is(err, room.ErrInvalidRequest) {
		t.Errorf("provided nothing: %v", err)
	}
	if err := later.Secrets().ProvideAuthorization(t.Context(), id, value("good")); err != nil {
		t.Error(err)
	}
	if a := next(t, answers); a.token != "access-1" || a.err != nil {
		t.Errorf("bot gets %q, %v", a.token, a.err)
	}
}

// Who asked has gone; the consent is kept.
func TestOAuthAskerLeaves(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ids := make(chan string, 1)
	ann := s.dial("ann", scoped(), func(_ context.Context, _ *room.Client, r room.OAuthRequested) error {
		ids <- r.ID
		return nil
	})
	bot := s.dial("bot", scoped(), nil)
	gone := make(chan struct{})
	go func() {
		ask(t.Context(), bot, ann, p.client())
		close(gone)
	}()
	id, botID := <-ids, bot.Session().ParticipantID
	bot.Close()
	<-gone
	waitUntilGone(t, ann, botID)
	if err := ann.Secrets().ProvideAuthorization(t.Context(), id, value("good")); err != nil {
		t.Fatal(err)
	}
	if got, err := offline(t.Context(), s.dial("bot", scoped(), nil), p.client(), "ann"); got != "access-1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// waitUntilGone returns when the server finds nobody called id any more.
func waitUntilGone(t testing.TB, c *room.Client, id string) {
	t.Helper()
	for err := error(nil); !errors.Is(err, room.ErrNotFound); {
		_, err = c.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{ParticipantID: id, RedirectURI: "http://127.0.0.1:1/cb"})
		if !errors.Is(err, room.ErrNotFound) && !errors.Is(err, room.ErrInvalidRequest) {
			t.Fatal(err)
		}
	}
}

// Who answered has gone, while the code is exchanged: it is used up by then.
func TestOAuthAnswererLeaves(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ann := s.dial("ann", scoped(), provides("good"))
	bot := s.dial("bot", scoped(), nil)
	p.set(func() {
		p.fault = func(w http.ResponseWriter, _ *http.Request) {
			id := ann.Session().ParticipantID
			ann.Close()
			waitUntilGone(t, bot, id)
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"a"}`)
		}
	})
	if got, err := ask(t.Context(), bot, ann, p.client()); got != "a" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// Requests that differ are questions of their own.
func TestOAuthQuestionsThatDiffer(t *testing.T) {
	s, p := serve(t), newProvider(t)
	ids := make(chan string, 3)
	ann := s.dial("ann", scoped(), func(_ context.Context, _ *room.Client, r room.OAuthRequested) error {
		ids <- r.ID
		return nil
	})
	var asking sync.WaitGroup
	for _, a := range []struct{ asker, scope string }{{"bot", "read"}, {"bot", "write"}, {"eve", "read"}} {
		c := s.dial(a.asker, scoped(), nil)
		asking.Go(func() {
			if _, err := ask(t.Context(), c, ann, p.client(a.scope)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, id := range []string{next(t, ids), next(t, ids), next(t, ids)} {
		if err := ann.Secrets().ProvideAuthorization(t.Context(), id, value("good")); err != nil {
			t.Error(err)
		}
	}
	asking.Wait()
}

// Section 7.4, row by row.
func TestOfflineDelegation(t *testing.T) {
	s, p := serve(t), newProvider(t)
	self := provides("good")
	ann, bob := s.dial("ann", scoped(), self), s.dial("bob", scoped(), self)
	bot, eve, root := s.dial("bot", scoped(), self), s.dial("eve", scoped(), nil), s.dial("root", admin(), nil)
	request := func(asker, asked *room.Client, delegateTo string) (string, error) {
		v, err := asker.Secrets().RequestOAuthToken(t.Context(), room.OAuthRequest{
			ParticipantID: asked.Session().ParticipantID, OAuth: p.client(), RedirectURI: "http://127.0.0.1:1/cb", DelegateTo: delegateTo, Timeout: 10 * time.Second,
		})
		return string(v.Reveal()), err
	}
	for _, r := range []struct {
		asker, asked *room.Client
		delegateTo   string
		want         string // "" for permission denied
	}{
		{ann, ann, "bot", "access-1"},
		{ann, ann, "", "access-2"},
		{bot, bob, "", "access-3"},
		{bot, bob, "bot", "access-3"},
		{bot, bob, "eve", ""},
		{root, bob, "eve", "access-4"},
		{root, bob, "eve", "access-5"}, // asked again: it is not root's to read
		{root, bob, "bot", "access-6"},
	} {
		got, err := request(r.asker, r.asked, r.delegateTo)
		if got != r.want || r.want == "" && !errors.Is(err, room.ErrPermissionDenied) {
			t.Errorf("request for %q: %q, %v", r.delegateTo, got, err)
		}
	}
	for _, q := range []struct {
		caller *room.Client
		to, by string
		want   string
	}{
		{ann, "", "", "access-2"},
		{ann, "bot", "", "access-1"},
		{ann, "bot", "ann", "access-1"},
		{ann, "eve", "", "none"},
		{ann, "", "bob", "none"},
		{bot, "", "ann", "access-1"},
		{bot, "bot", "ann", "access-1"},
		{bot, "", "bob", "access-6"},
		{bot, "", "", "none"},
		{bot, "eve", "bob", "denied"},
		{eve, "", "bob", "access-5"},
		{eve, "", "ann", "none"},
		{eve, "bot", "ann", "denied"},
		{eve, "bot", "", "none"},
		{root, "bot", "ann", "access-1"},
		{root, "", "ann", "none"},
	} {
		v, err := q.caller.Secrets().OfflineOAuthToken(t.Context(), room.OfflineOAuthQuery{OAuth: p.client(), DelegatedTo: q.to, DelegatedBy: q.by})
		got := string(v.Reveal())
		switch {
		case errors.Is(err, room.ErrNotFound):
			got = "none"
		case errors.Is(err, room.ErrPermissionDenied):
			got = "denied"
		}
		if got != q.want {
			t.Errorf("offline to %q by %q: %q, %v, want %q", q.to, q.by, got, err, q.want)
		}
	}
}
